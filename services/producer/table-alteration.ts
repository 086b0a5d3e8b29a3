import type { TableFacts } from '#adapters/postgres/source/table-facts.ts';
import { RestageError, type ErrorDetails } from '#core/errors.ts';
import {
  compareStructures,
  hasNewFile,
  numberColumns,
  type ColumnChange,
  type SourceShape,
} from '#core/structure-change.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';
import { formatTable } from '#core/table-name.ts';
import type { KnownTable } from './captured-table.ts';

export interface Alteration {
  readonly changes: readonly ColumnChange[];
  /** The catalog's side of the newer structure; null where it is not known. */
  readonly source: SourceShape | null;
}

/**
 * What happened to a table's columns since the events before. A statement that rewrites rows leaves nothing in the stream (ADD COLUMN
 * with a volatile default and ALTER TYPE … USING decode to an empty transaction), so the values that it made are not known here, and
 * to run it again elsewhere would invent others (invariant 5).
 * @throws RestageError ddl_unsupported where rows may have been rewritten, or names went around faster than can be told.
 */
export function findChanges(before: KnownTable, after: TableStructure, facts: TableFacts | null): Alteration {
  const earlier = before.source;
  if (facts === null) return { changes: [], source: null };
  const names = after.columns.filter((column) => !column.generated).map(({ name }) => name);
  const numbers = numberColumns(names, earlier?.numbers ?? new Map(), facts.numbers, (column) =>
    unclear(after, `column ${column} has another name by now`),
  );
  const source = { oid: facts.oid, fileNode: facts.fileNode, numbers };
  if (earlier === null || structureVersion(before.structure) === structureVersion(after))
    return { changes: [], source };
  const changes = compareStructures(
    before.structure,
    after,
    { before: earlier.numbers, after: numbers },
    facts.columns,
  );
  const isRewritten = hasNewFile(earlier.fileNode, facts.fileNode);
  for (const change of changes) {
    if (change.kind === 'add') {
      if (numbers.get(change.column) !== facts.numbers.get(change.column))
        throw unclear(after, `column ${change.column} was added and is gone or renamed by now`);
      requireKnownFill(after, change.column, facts, isRewritten);
    } else if (change.kind === 'retype' && hasLostLabels(before.structure, after, change.column))
      throw rewritten(after, `labels of column ${change.column} have other names`);
    else if (change.kind === 'retype' && isRewritten && !isLabelsOnly(before.structure, after, change.column))
      throw rewritten(after, `column ${change.column} got another type`);
  }
  return { changes, source };
}

/** The catalog keeps the value of older rows as long as nothing rewrites them (PostgreSQL: "pg_attribute", attmissingval). */
function requireKnownFill(after: TableStructure, column: string, facts: TableFacts, isRewritten: boolean): void {
  if (isRewritten && facts.columns.get(column)?.hasMissing !== true)
    throw rewritten(after, `column ${column} was added`);
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
  facts: TableFacts | null,
  fileNode: string | null,
): Alteration {
  if (facts === null) return { changes: [], source: null };
  const numbers = new Map<string, number>();
  for (const { name, generated } of after.columns) {
    const number = facts.numbers.get(name) ?? earlier?.numbers.get(name);
    if (!generated && number !== undefined) numbers.set(name, number);
  }
  return { changes: [], source: { oid: facts.oid, fileNode, numbers } };
}
