import { z } from 'zod';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';

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
  /** The type, with every value's text as it was; or an enum's labels. */
  z.object({ kind: z.literal('retype'), column: z.string() }),
]);
export type ColumnChange = z.infer<typeof columnChangeSchema>;

/** What only the source's catalog tells of a table; a structure's other half while it is captured. */
export interface SourceShape {
  readonly oid: number;
  /**
   * pg_class.relfilenode: another one says that the table was rewritten or truncated. null where that is known to have happened. Of a
   * partitioned table `oid:relfilenode` of each partition that holds rows, by commas.
   */
  readonly fileNode: string | null;
  /** pg_attribute.attnum by column: the same number under another name is a rename. */
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

/**
 * Renames first, then drops, retypes and additions, each in the newer structure's order; every plain column has its number.
 * Generated columns carry no events.
 */
export function compareStructures(
  before: TableStructure,
  after: TableStructure,
  numbers: { readonly before: SourceShape['numbers']; readonly after: SourceShape['numbers'] },
  added: ReadonlyMap<string, AddedColumn>,
): ColumnChange[] {
  const old = new Map(plainColumns(before).map((column) => [column.name, column]));
  const names = new Set(plainColumns(after).map(({ name }) => name));
  const byNumber = new Map([...numbers.before].map(([name, number]) => [number, name]));
  const [renames, retypes, additions]: ColumnChange[][] = [[], [], []];
  for (const column of plainColumns(after)) {
    const known = old.get(byNumber.get(numbers.after.get(column.name) ?? 0) ?? '');
    if (known === undefined) {
      const { missing, expression } = added.get(column.name) ?? { missing: null, expression: null };
      additions?.push({ kind: 'add', column: column.name, fill: missing, expression });
      continue;
    }
    old.delete(known.name);
    if (known.name !== column.name) renames?.push({ kind: 'rename', column: known.name, to: column.name });
    if (!isSameType(known, column)) retypes?.push({ kind: 'retype', column: column.name });
  }
  const drops = [...old.keys()].map((column): ColumnChange => ({ kind: 'drop', column }));
  // A name that a dropped column leaves may be taken by a renamed one.
  const isTaken = drops.some(({ column }) => names.has(column));
  return [
    ...(isTaken ? drops : []),
    ...(renames ?? []),
    ...(isTaken ? [] : drops),
    ...(retypes ?? []),
    ...(additions ?? []),
  ];
}

function plainColumns(structure: TableStructure): ColumnStructure[] {
  return structure.columns.filter((column) => !column.generated);
}

function isSameType(a: ColumnStructure, b: ColumnStructure): boolean {
  return (
    a.type === b.type &&
    a.typeSchema === b.typeSchema &&
    a.typeName === b.typeName &&
    JSON.stringify(a.enumLabels) === JSON.stringify(b.enumLabels)
  );
}
