import type { TableFacts } from '#adapters/postgres/source/table-facts.ts';
import { RestageError, type ErrorDetails } from '#core/errors.ts';
import {
  compareStructures,
  hasNewFile,
  numberColumns,
  type ColumnChange,
  type SourceShape,
  type TypeName,
} from '#core/structure-change.ts';
import { structureVersion, type ColumnStructure, type TableStructure } from '#core/structure.ts';
import { formatTable } from '#core/table-name.ts';
import type { KnownTable } from './captured-table.ts';
import type { ComputedColumns } from './computed-columns.ts';

export interface Alteration {
  readonly changes: readonly ColumnChange[];
  /** The catalog's side of the newer structure; null where it is not known. */
  readonly source: SourceShape | null;
}

/** What the catalog says of a table; it may be ahead of the stream. */
export interface CatalogState {
  readonly facts: TableFacts | null;
  readonly now: TableStructure | null;
  readonly computed: ComputedColumns;
  /** Of those that columns had before. */
  readonly isGone: (type: TypeName) => boolean;
  /** A statement was told that computed values of added columns for the rows that are there. */
  readonly isFilled: boolean;
  /** Every such statement is told. */
  readonly isDdlTold: boolean;
}

/** The numbers of the columns that events have; null where nobody can tell them all. */
export function numberSent(
  { source }: KnownTable,
  sent: readonly ColumnStructure[],
  facts: TableFacts | null,
): ReadonlyMap<string, number> | null {
  if (facts === null) return null;
  const untold = new Error('untold');
  const names = sent.filter(({ generated }) => !generated).map(({ name }) => name);
  try {
    return numberColumns(names, source?.numbers ?? new Map(), facts.numbers, () => untold);
  } catch (error) {
    if (error === untold) return null;
    throw error;
  }
}

function generatedNumbers(
  { columns }: TableStructure,
  facts: TableFacts,
  computed: ComputedColumns,
): Map<string, number> {
  const names = columns.filter(({ generated }) => generated).map(({ name }) => name);
  return new Map(
    names.flatMap((name) => {
      const number = computed.numbers.get(name) ?? facts.numbers.get(name);
      return number === undefined ? [] : [[name, number] as const];
    }),
  );
}

/** Whether the catalog has other columns than the events to come, or others under their names or types. */
function isAhead(
  after: TableStructure,
  numbers: ReadonlyMap<string, number>,
  facts: TableFacts,
  now: TableStructure | null,
): boolean {
  // The two were read one after the other.
  if (now === null || facts.numbers.size !== now.columns.length) return true;
  const names = new Set(now.columns.map(({ name }) => name));
  const columns = new Map(after.columns.map((column) => [column.name, column]));
  if (after.columns.some(({ name }) => !names.has(name))) return true;
  return now.columns.some(({ name, type, generated }) => {
    const sent = columns.get(name);
    if (sent === undefined) return after.excluded?.includes(name) !== true;
    const isSame = sent.type === type && sent.generated === generated;
    return !isSame || (!generated && numbers.get(name) !== facts.numbers.get(name));
  });
}

/**
 * What happened to a table's columns since the events before. A statement that rewrites rows leaves nothing in the stream (ADD COLUMN
 * with a volatile default and ALTER TYPE … USING decode to an empty transaction), so the values that it made are not known here, and
 * to run it again elsewhere would invent others (invariant 5).
 * @throws RestageError ddl_unsupported where rows may have been rewritten, or names went around faster than can be told.
 */
export function findChanges(
  before: KnownTable,
  after: TableStructure,
  { facts, now, computed, isGone, isFilled, isDdlTold }: CatalogState,
): Alteration {
  const earlier = before.source;
  if (facts === null) return { changes: [], source: null };
  const names = after.columns.filter((column) => !column.generated).map(({ name }) => name);
  const sent = numberColumns(names, earlier?.numbers ?? new Map(), facts.numbers, (column) =>
    unclear(after, `column ${column} has another name by now`),
  );
  const numbers = new Map([...sent, ...generatedNumbers(after, facts, computed)]);
  // Another file is noticed with the columns that changed with it: not before the stream has reached those.
  const isEarly = earlier !== null && isAhead(after, sent, facts, now);
  const { fileNode, attributes } = isEarly ? earlier : facts;
  const source = { oid: facts.oid, fileNode, attributes, numbers };
  if (earlier === null) return { changes: [], source };
  if (structureVersion(before.structure) === structureVersion(after)) {
    if (!isEarly && !isDdlTold && isComputedAnew(earlier, facts))
      throw rewritten(after, 'a statement computed its rows anew');
    return { changes: [], source };
  }
  const isRewritten = isFilled || hasNewFile(earlier.fileNode, facts.fileNode);
  // A TRUNCATE gave it a file that nobody has seen: whether a statement gave it the next one cannot be told.
  const isUnknown = earlier.fileNode === null && !isDdlTold;
  const changes = compareStructures({
    before: before.structure,
    after,
    numbers: { before: earlier.numbers, after: numbers },
    added: facts.columns,
    isRewritten,
    isGone,
  });
  const isComputed = (name: string): boolean =>
    after.columns.find((column) => column.name === name)?.generated === true;
  for (const change of changes) {
    if (change.kind === 'drop' || change.kind === 'rename' || isComputed(change.column)) continue;
    if (change.kind === 'add') {
      if (numbers.get(change.column) !== facts.numbers.get(change.column))
        throw unclear(after, `column ${change.column} was added and is gone or renamed by now`);
      if (isRewritten || (isUnknown && mayFill(after, change.column, facts)))
        requireKnownFill(after, change.column, facts);
    } else if (hasLostLabels(before.structure, after, change.column))
      throw rewritten(after, `labels of column ${change.column} have other names`);
    else if ((isRewritten || isUnknown) && !isLabelsOnly(before.structure, after, change.column))
      throw rewritten(after, `column ${change.column} got another type`);
  }
  return { changes, source };
}

/**
 * Whether a statement may have computed values anew in columns that are as they were. Both a new file and newer rows of pg_attribute tell
 * it: ALTER TABLE without a rewrite leaves the file, VACUUM FULL and TRUNCATE the columns.
 */
function isComputedAnew(earlier: SourceShape, now: SourceShape): boolean {
  const hasOther = earlier.fileNode === null ? earlier.attributes !== null : hasNewFile(earlier.fileNode, now.fileNode);
  return hasOther && earlier.attributes !== now.attributes;
}

/** The catalog keeps the value of older rows as long as nothing rewrites them (PostgreSQL: "pg_attribute", attmissingval). */
function requireKnownFill(after: TableStructure, column: string, facts: TableFacts): void {
  if (facts.columns.get(column)?.hasMissing !== true) throw rewritten(after, `column ${column} was added`);
}

/** Whether rows that were there may have got a value of the column: by a default, its own or a domain's, or as an identity. */
function mayFill({ columns }: TableStructure, name: string, facts: TableFacts): boolean {
  const column = columns.find((one) => one.name === name);
  const hasDefault = facts.columns.get(name)?.expression !== null;
  return hasDefault || column === undefined || column.identity !== '' || column.typeSchema !== 'pg_catalog';
}

/** Labels are never dropped, so they were renamed: rows that were there show the new names, and no event says so. */
function hasLostLabels(before: TableStructure, after: TableStructure, name: string): boolean {
  const [was, is] = [before, after].map(({ columns }) => columns.find((column) => column.name === name)?.enumLabels);
  return was?.some((label) => is?.includes(label) === false) === true && isLabelsOnly(before, after, name);
}

function isLabelsOnly(before: TableStructure, after: TableStructure, name: string): boolean {
  const [was, is] = [before, after].map(({ columns }) => columns.find((column) => column.name === name));
  return was !== undefined && was.type === is?.type;
}

function unclear(table: TableStructure, what: string): RewrittenError {
  return new RewrittenError(table, 'a table changed faster than the stream tells', {
    where: `${formatTable(table)}: ${what}`,
    fix: `${FIX}; wait for the target between two changes of the same columns`,
  });
}

export function rewritten(table: TableStructure, what: string): RewrittenError {
  return new RewrittenError(
    table,
    'a table was rewritten at the source: the values of its rows are not in the stream',
    { where: `${formatTable(table)}: ${what}`, fix: `${FIX}; or leave it out of source.tables` },
  );
}

/** It has this name now, and had another. */
export function renamed(table: TableStructure, where: string): RewrittenError {
  return new RewrittenError(table, 'a captured table was renamed at the source', {
    where,
    fix: 'set source.onRewrite: snapshot, so that the target renames its table too and loads it again; or give it its old name back',
  });
}

/** The name of a captured table is another one's, which was made or renamed since. */
export function replaced(table: TableStructure, where: string): RewrittenError {
  return new RewrittenError(table, 'another table of the source has the name of a captured one now', {
    where: `${formatTable(table)}, ${where}`,
    fix: `${FIX}; or leave it out of source.tables`,
  });
}

/** Of a partitioned table that is captured as one. */
export function partlyChanged(table: TableStructure, what: string): RewrittenError {
  return new RewrittenError(table, 'a partitioned table changed at the source in a way that is not in the stream', {
    where: `${formatTable(table)}: ${what}`,
    fix: `${FIX}; or leave it out of source.tables`,
  });
}

const FIX =
  'set source.onRewrite: snapshot, so that the table is loaded again, or start the pipeline anew under another name';

/** What only another load of the table mends. */
export class RewrittenError extends RestageError {
  readonly table: TableStructure;

  constructor(table: TableStructure, what: string, details: ErrorDetails) {
    super('ddl_unsupported', what, details);
    this.table = table;
  }
}

/**
 * The same for a change that another load's snapshot has: nobody needs to know what it was. `fileNode` is the table's file as that load
 * found it, so that the next rewrite is noticed.
 */
export function passOver(
  { source: earlier }: KnownTable,
  after: TableStructure,
  { facts, computed }: Pick<CatalogState, 'facts' | 'computed'>,
  fileNode: string | null,
): Alteration {
  if (facts === null) return { changes: [], source: null };
  const numbers = generatedNumbers(after, facts, computed);
  for (const { name, generated } of after.columns) {
    const number = facts.numbers.get(name) ?? earlier?.numbers.get(name);
    if (!generated && number !== undefined) numbers.set(name, number);
  }
  return { changes: [], source: { oid: facts.oid, fileNode, attributes: null, numbers } };
}
