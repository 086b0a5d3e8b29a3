import * as z from 'zod';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { quoteIdentifier } from '#core/table-name.ts';

/**
 * What happened to one column between two structures of a table. `fill` is the value that the rows which were there have in an
 * added column (PostgreSQL's text); `expression` its default for rows to come, as the source writes it, or null.
 */
export const columnChangeSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('add'),
    column: z.string(),
    fill: z.string().nullable(),
    expression: z.string().nullable(),
  }),
  z.object({ kind: z.literal('drop'), column: z.string() }),
  z.object({ kind: z.literal('rename'), column: z.string(), to: z.string() }),
  /** The type, with every value's text as it was; an enum's labels; how a generated column is computed, or that it no longer is. */
  z.object({
    kind: z.literal('retype'),
    column: z.string(),
    /** The name that the type, or the elements', had before, where nothing has it now: it was renamed. */
    was: z.object({ schema: z.string(), name: z.string() }).optional(),
  }),
]);
export type ColumnChange = z.infer<typeof columnChangeSchema>;

/**
 * What a table's columns follow: those of the partitioned table that it is a partition of, the attributes of the type that it is OF, or
 * those of tables that it inherits from. Only there they can be changed.
 */
export const columnsOfSchema = z.enum(['partitioned', 'type', 'inherited']);
export type ColumnsOf = z.infer<typeof columnsOfSchema>;

/** What only the source's catalog tells of a table; a structure's other half while it is captured. */
export interface SourceShape {
  readonly oid: number;
  /**
   * pg_class.relfilenode: another one says that the table was rewritten or truncated. null where that is known to have happened. Of a
   * partitioned table `oid:relfilenode` of each partition that holds rows, by commas.
   */
  readonly fileNode: string | null;
  /**
   * Which transactions last wrote the rows of pg_attribute, as one text: a statement that computes values anew writes some, VACUUM FULL,
   * CLUSTER and TRUNCATE write none. null where it is not known.
   */
  readonly attributes: string | null;
  /** pg_attribute.attnum by column, also of generated ones: the same number under another name is a rename. */
  readonly numbers: ReadonlyMap<string, number>;
}

/** Whether rows may have been rewritten or truncated in between: of a partitioned table in some partition that was there before. */
export function hasNewFile(before: string | null, now: string | null): boolean {
  if (before === null || before === now) return false;
  const later = new Map((now ?? '').split(',').map(splitFile));
  return before.split(',').some((file) => {
    const [oid, node] = splitFile(file);
    const found = later.get(oid);
    return found === undefined ? oid === '' : found !== node;
  });
}

/** The partitions that a partitioned table's files name, by OID. */
export function partitionsIn(fileNode: string | null): ReadonlySet<number> {
  const files = (fileNode ?? '').split(',').filter((file) => file.includes(':'));
  return new Set(files.map((file) => Number(splitFile(file)[0])));
}

/** An ordinary table's file is nobody's but its own. */
function splitFile(file: string): [oid: string, node: string] {
  const at = file.indexOf(':');
  return at < 0 ? ['', file] : [file.slice(0, at), file.slice(at + 1)];
}

/** How an added column came to be. */
export interface AddedColumn {
  /** The value of older rows, kept in the catalog (attmissingval), where there is one. */
  readonly missing: string | null;
  readonly expression: string | null;
}

/**
 * The numbers of a structure's columns, given in the order of the numbers, from those of the structure before and those that the
 * catalog has now, which may be ahead: meanwhile a name may have gone from one column to another. Its neighbours tell which one it is,
 * or what became of the other. Throws what `untold` makes of the name of a column that nothing tells.
 */
export function numberColumns(
  names: readonly string[],
  before: SourceShape['numbers'],
  now: SourceShape['numbers'],
  untold: (column: string) => Error,
): Map<string, number> {
  const nameNow = new Map([...now].map(([name, number]) => [number, name]));
  const sure = names.map((name) => {
    const [earlier, later] = [before.get(name), now.get(name)];
    if (earlier === undefined && later === undefined) throw untold(name);
    return earlier === undefined || later === undefined || earlier === later ? (earlier ?? later ?? null) : null;
  });
  const resolve = (name: string, index: number): number => {
    const [earlier, later] = [before.get(name) ?? 0, now.get(name) ?? 0];
    const low = sure.slice(0, index).findLast((number) => number !== null) ?? 0;
    const high = sure.slice(index + 1).find((number) => number !== null) ?? Infinity;
    const [fit, other] = [earlier, later].filter((number) => low < number && number < high);
    if (fit !== undefined && other === undefined) return fit;
    const renamed = nameNow.get(earlier);
    if (renamed === undefined) throw untold(name);
    return names.includes(renamed) ? later : earlier;
  };
  return new Map(names.map((name, index) => [name, sure[index] ?? resolve(name, index)]));
}

export interface StructureComparison {
  readonly before: TableStructure;
  readonly after: TableStructure;
  /** Every plain column has its number; a generated one of `before` need not, from versions that did not follow them. */
  readonly numbers: { readonly before: SourceShape['numbers']; readonly after: SourceShape['numbers'] };
  readonly added: ReadonlyMap<string, AddedColumn>;
  /** The table's rows may have been computed anew: only then may a stored column's expression have another meaning. */
  readonly isRewritten: boolean;
  /** Whether no type has this name any more. */
  readonly isGone: (type: TypeName) => boolean;
}

/** A type as pg_type names it. */
export interface TypeName {
  readonly schema: string;
  readonly name: string;
}

/** A column's type, or that of an array's elements: only these have names that people give. */
export function namedType({ element, typeSchema, typeName }: ColumnStructure): TypeName {
  return element ?? { schema: typeSchema, name: typeName };
}

/**
 * What PostgreSQL takes one after another: a column that is computed from others goes before them and comes after them. So first those that
 * are no longer computed, then renames, drops, retypes and additions, each in the newer structure's order.
 */
export function compareStructures(comparison: StructureComparison): ColumnChange[] {
  const { before, after, numbers, added, isRewritten, isGone } = comparison;
  const old = new Map(before.columns.map((column) => [column.name, column]));
  const byNumber = new Map([...numbers.before].map(([name, number]) => [number, name]));
  const found = after.columns.map((column) => {
    const name = byNumber.get(numbers.after.get(column.name) ?? 0) ?? '';
    const known = old.get(name) ?? (numbers.before.has(column.name) ? undefined : old.get(column.name));
    if (known !== undefined) old.delete(known.name);
    return { column, known };
  });
  const renames = found.flatMap(({ column: { name }, known }): Rename[] =>
    known === undefined || known.name === name ? [] : [{ kind: 'rename', column: known.name, to: name }],
  );
  const retypes = found.flatMap(({ column, known }) =>
    known !== undefined && isOther(known, column, renames, isRewritten) ? [{ column, known }] : [],
  );
  const [settled, others] = partition(retypes, ({ column, known }) => known.generated && !column.generated);
  const [computed, plain] = partition(others, ({ column }) => column.generated);
  const [computedDrops, plainDrops] = partition([...old.values()], ({ generated }) => generated);
  const [computedAdditions, plainAdditions] = partition(
    found.flatMap(({ column, known }) => (known === undefined ? [column] : [])),
    ({ generated }) => generated,
  );
  const add = ({ name }: ColumnStructure): ColumnChange => {
    const { missing, expression } = added.get(name) ?? { missing: null, expression: null };
    return { kind: 'add', column: name, fill: missing, expression };
  };
  const retype = ({ column, known }: { column: ColumnStructure; known: ColumnStructure }): ColumnChange => {
    const [is, was] = [namedType(column), namedType(known)];
    const isRenamed = (is.schema !== was.schema || is.name !== was.name) && isGone(was);
    return { kind: 'retype', column: column.name, ...(isRenamed ? { was } : {}) };
  };
  const drops = [...computedDrops, ...plainDrops].map(({ name }): ColumnChange => ({ kind: 'drop', column: name }));
  // A name that a dropped column leaves may be taken by another one.
  const isTaken = drops.some(({ column }) => after.columns.some(({ name }) => name === column));
  return [
    ...(isTaken ? drops : []),
    ...renames,
    ...settled.map(retype),
    ...(isTaken ? [] : drops),
    ...plain.map(retype),
    ...plainAdditions.map(add),
    ...computed.map(retype),
    ...computedAdditions.map(add),
  ];
}

type Rename = Extract<ColumnChange, { kind: 'rename' }>;

function partition<T>(values: readonly T[], isFirst: (value: T) => boolean): [T[], T[]] {
  return [values.filter(isFirst), values.filter((value) => !isFirst(value))];
}

/** The expression of a stored column is also printed otherwise where a function or a label that it names was renamed. */
function isOther(
  known: ColumnStructure,
  column: ColumnStructure,
  renames: readonly Rename[],
  isRewritten: boolean,
): boolean {
  if (known.generated !== column.generated || !isSameType(known, column)) return true;
  const { generation: was } = known;
  const { generation: is } = column;
  if (was === undefined || is === undefined || (is.kind === 'stored' && !isRewritten)) return false;
  return is.expression !== was.expression && is.expression !== withNames(was.expression, renames);
}

/** An expression as pg_get_expr prints it, with its columns' newer names. */
function withNames(expression: string, renames: readonly Rename[]): string {
  const names = new Map(renames.map(({ column, to }) => [quoteIfNeeded(column), quoteIfNeeded(to)]));
  return expression.replace(
    /'(?:[^']|'')*'|"(?:[^"]|"")+"|[\p{L}_][\p{L}\p{N}_$]*/gu,
    (word) => names.get(word) ?? word,
  );
}

/** As PostgreSQL's quote_identifier but for key words, which it quotes too. */
function quoteIfNeeded(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : quoteIdentifier(name);
}

function isSameType(a: ColumnStructure, b: ColumnStructure): boolean {
  return (
    a.type === b.type &&
    a.typeSchema === b.typeSchema &&
    a.typeName === b.typeName &&
    JSON.stringify(a.enumLabels) === JSON.stringify(b.enumLabels)
  );
}
