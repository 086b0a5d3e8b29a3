import type { Image } from '#core/change.ts';
import type { FoldedTable, RowUpdate } from '#core/fold.ts';
import { columnsKey, valuesIn } from '#core/row-image.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { castText } from '../value-type.ts';
import type { Parameter } from './bind-message.ts';
import { CopyBuffer } from './copy-buffer.ts';
import { copyPieces, copyText } from './copy-pieces.ts';
import { arraysOf, columnOf, matchKeys, unnest } from './row-arrays.ts';
import type { TargetTable } from './target-table.ts';

/** A statement for many rows of one table, each column's values one parameter. */
export interface BulkStatement {
  readonly table: TargetTable;
  readonly text: string;
  readonly values: readonly Parameter[];
  /** Keys of the rows that it must find, every one; null where it brings rows. */
  readonly keys: readonly Image[] | null;
  /** Rows for a COPY, which has no parameters. */
  readonly copied?: Iterable<string | Buffer>;
}

/** Fewer rows are an INSERT: a COPY is set up and ended, and takes a multiple of a row's time for it. */
const COPY_FROM_ROWS = 100;

export function deleteStatement(table: TargetTable, keys: readonly Image[]): BulkStatement {
  const { identity } = table;
  return {
    table,
    text: `DELETE FROM ${table.only} AS t USING ${unnest(identity.length)} WHERE ${matchKeys(table)}`,
    values: arraysOf(keys, identity),
    keys,
  };
}

/** Updates that set the same columns. null where nothing but the key was sent: rows that stay as they are. */
export function updateStatement(
  table: TargetTable,
  updates: readonly RowUpdate[],
  isRename: boolean,
): BulkStatement | null {
  const { identity } = table;
  const names = settableColumns(table, updates, isRename);
  if (names.length === 0) return null;
  const set = names.map(
    (name, index) => `${quoteIdentifier(name)} = ${castText(columnOf(table, name), `s.c${identity.length + index}`)}`,
  );
  const keys = updates.map((update) => update.key);
  const sets = updates.map((update) => update.set);
  return {
    table,
    text: `UPDATE ${table.only} AS t SET ${set.join(', ')} FROM ${unnest(identity.length + names.length)} WHERE ${matchKeys(table)}`,
    values: [...arraysOf(keys, identity), ...arraysOf(sets, names)],
    keys,
  };
}

/** Rows that name the same columns. */
export function insertStatement(table: TargetTable, rows: readonly Image[]): BulkStatement {
  const names = namedColumns(table, rows);
  if (names.length === 0)
    return {
      table,
      text: `INSERT INTO ${table.sql} SELECT FROM generate_series(1, $1)`,
      values: [String(rows.length)],
      keys: null,
    };
  const values = names.map((name, index) => castText(columnOf(table, name), `s.c${index}`)).join(', ');
  const list = names.map(quoteIdentifier).join(', ');
  return {
    table,
    text: `INSERT INTO ${table.sql} (${list}) OVERRIDING SYSTEM VALUE SELECT ${values} FROM ${unnest(names.length)}`,
    values: arraysOf(rows, names),
    keys: null,
  };
}

/** The columns by which a COPY brings rows that name the same; null where an INSERT is to bring them. */
export function copiedColumns(table: TargetTable, rows: readonly Image[]): readonly string[] | null {
  const names = rows.length < COPY_FROM_ROWS ? [] : namedColumns(table, rows);
  return names.length === 0 ? null : names;
}

/** All that one table's folded changes take, in the order of bulk-apply.ts. The table has no column that only INSERT may set. */
export function* statementsOf(
  table: TargetTable,
  { deletes, renames, updates, inserts }: FoldedTable,
): Generator<BulkStatement, void, undefined> {
  if (deletes.length > 0) yield deleteStatement(table, deletes);
  yield* groupUpdates(renames).flatMap((group) => updateStatement(table, group, true) ?? []);
  yield* groupUpdates(updates).flatMap((group) => updateStatement(table, group, false) ?? []);
  yield* insertStatements(table, inserts);
}

/** Their order among each other is kept where they name the same columns. */
export function* insertStatements(
  table: TargetTable,
  rows: readonly Image[],
): Generator<BulkStatement, void, undefined> {
  for (const group of groupImages(rows)) {
    const names = copiedColumns(table, group);
    yield names === null ? insertStatement(table, group) : copyStatement(table, group, names);
  }
}

function copyStatement(table: TargetTable, rows: readonly Image[], names: readonly string[]): BulkStatement {
  return { table, text: copyText(table.sql, names), values: [], keys: null, copied: copied(rows, names) };
}

function* copied(rows: readonly Image[], names: readonly string[]): Generator<string | Buffer, void, undefined> {
  const pending = new CopyBuffer();
  yield* copyPieces(
    rows.map((row) => valuesIn(row, names)),
    pending,
  );
  if (!pending.isEmpty) yield pending.take();
}

export function settableColumns(table: TargetTable, updates: readonly RowUpdate[], isRename: boolean): string[] {
  return [...(updates[0]?.set.keys() ?? [])].filter(
    (name) => table.columns.has(name) && (isRename || !table.identity.includes(name)),
  );
}

export function namedColumns(table: TargetTable, rows: readonly Image[]): string[] {
  return [...(rows[0]?.keys() ?? [])].filter((name) => table.columns.has(name));
}

/** Updates that set the same columns go together. */
export function groupUpdates(updates: readonly RowUpdate[]): RowUpdate[][] {
  return groupBy(updates, (update) => columnsKey(update.set));
}

/** Their order among each other is kept where they name the same columns. */
export function groupImages(images: readonly Image[]): Image[][] {
  return groupBy(images, columnsKey);
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => unknown): T[][] {
  const groups = new Map<unknown, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return [...groups.values()];
}
