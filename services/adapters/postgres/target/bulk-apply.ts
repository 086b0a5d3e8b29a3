import type pg from 'pg';
import type { Image } from '#core/change.ts';
import { RestageError, type ErrorCode } from '#core/errors.ts';
import type { FoldedTable, RowUpdate } from '#core/fold.ts';
import { columnsKey, textsOf } from '#core/row-image.ts';
import { formatTable, quoteIdentifier } from '#core/table-name.ts';
import { copyRows } from './copy-rows.ts';
import { replaceIdentityValues } from './identity-columns.ts';
import { runStatement } from './long-query.ts';
import { castText } from '../value-type.ts';
import { columnOf, matchKeys, unnest, valuesOf } from './row-arrays.ts';
import type { TargetTable } from './target-table.ts';

const COPY_FROM_ROWS = 100;

/**
 * One table's folded changes, a statement per kind and set of columns: first this, then changeRows. Every affected count must be the
 * expected one. @throws RestageError with `mismatch` as code; pg errors as they are.
 */
export async function deleteRows(
  client: pg.ClientBase,
  table: TargetTable,
  { deletes }: FoldedTable,
  mismatch: ErrorCode,
): Promise<void> {
  if (deletes.length > 0) await bulkDelete(client, table, deletes, mismatch);
}

/** Renames, updates, inserts: in this order. */
export async function changeRows(
  client: pg.ClientBase,
  table: TargetTable,
  folded: FoldedTable,
  mismatch: ErrorCode,
): Promise<void> {
  for (const group of groupByColumns(folded.renames)) await bulkUpdate(client, table, group, true, mismatch);
  for (const group of groupByColumns(folded.updates)) await bulkUpdate(client, table, group, false, mismatch);
  await insertRows(client, table, folded.inserts);
}

/** Rows that nothing stands between. Their order among each other is kept where they name the same columns. */
export async function insertRows(client: pg.ClientBase, table: TargetTable, rows: readonly Image[]): Promise<void> {
  for (const group of groupImages(rows)) await bulkInsert(client, table, group);
}

async function bulkDelete(
  client: pg.ClientBase,
  table: TargetTable,
  keys: readonly Image[],
  mismatch: ErrorCode,
): Promise<void> {
  const { identity } = table;
  const text = `DELETE FROM ${table.only} AS t USING ${unnest(identity.length)} WHERE ${matchKeys(table)}`;
  const { rowCount: done } = await runStatement(
    client,
    text,
    identity.map((column) => valuesOf(keys, column)),
  );
  requireCount(done, keys, table, mismatch);
}

async function bulkUpdate(
  client: pg.ClientBase,
  table: TargetTable,
  updates: readonly RowUpdate[],
  isRename: boolean,
  mismatch: ErrorCode,
): Promise<void> {
  const { identity } = table;
  const sent = [...(updates[0]?.set.keys() ?? [])].filter((name) => isSettable(table, name, isRename));
  const always = sent.filter((name) => table.columns.get(name)?.isAlwaysIdentity === true);
  if (always.length > 0) {
    const moved = await moveIdentityValues(client, table, updates, always);
    return bulkUpdate(client, table, moved, isRename, mismatch);
  }
  const names = sent;
  // Nothing but the key was sent: a row that stays as it is.
  if (names.length === 0) return;
  const set = names
    .map(
      (name, index) => `${quoteIdentifier(name)} = ${castText(columnOf(table, name), `s.c${identity.length + index}`)}`,
    )
    .join(', ');
  const text = `UPDATE ${table.only} AS t SET ${set} FROM ${unnest(identity.length + names.length)} WHERE ${matchKeys(table)}`;
  const keys = updates.map((update) => update.key);
  const sets = updates.map((update) => update.set);
  const { rowCount: done } = await runStatement(client, text, [
    ...identity.map((column) => valuesOf(keys, column)),
    ...names.map((name) => valuesOf(sets, name)),
  ]);
  requireCount(done, keys, table, mismatch);
}

async function bulkInsert(client: pg.ClientBase, table: TargetTable, rows: readonly Image[]): Promise<void> {
  const names = [...(rows[0]?.keys() ?? [])].filter((name) => table.columns.has(name));
  if (names.length === 0) {
    await client.query(`INSERT INTO ${table.sql} SELECT FROM generate_series(1, $1)`, [rows.length]);
    return;
  }
  if (rows.length >= COPY_FROM_ROWS) {
    await copyRows(
      client,
      table.sql,
      names,
      rows.map((row) => textsOf(row, names)),
    );
    return;
  }
  const values = names.map((name, index) => castText(columnOf(table, name), `s.c${index}`)).join(', ');
  const list = names.map(quoteIdentifier).join(', ');
  await runStatement(
    client,
    `INSERT INTO ${table.sql} (${list}) OVERRIDING SYSTEM VALUE SELECT ${values} FROM ${unnest(names.length)}`,
    names.map((name) => valuesOf(rows, name)),
  );
}

function isSettable(table: TargetTable, name: string, isRename: boolean): boolean {
  const column = table.columns.get(name);
  if (column === undefined) return false;
  return isRename || !table.identity.includes(name);
}

/** A value that only INSERT may give: the updates without it, their keys as they are then. */
async function moveIdentityValues(
  client: pg.ClientBase,
  table: TargetTable,
  updates: readonly RowUpdate[],
  always: readonly string[],
): Promise<RowUpdate[]> {
  const { identity } = table;
  const keys = updates.map((update) => update.key);
  const sets = updates.map((update) => update.set);
  await replaceIdentityValues(client, table, {
    using: unnest(identity.length + always.length),
    where: matchKeys(table),
    values: new Map(
      always.map((name, index) => [name, castText(columnOf(table, name), `s.c${identity.length + index}`)]),
    ),
    parameters: [...identity.map((name) => valuesOf(keys, name)), ...always.map((name) => valuesOf(sets, name))],
  });
  return updates.map(({ key, set }) => ({
    key: new Map([...key].map(([name, value]) => [name, always.includes(name) ? (set.get(name) ?? null) : value])),
    set: new Map([...set].filter(([name]) => !always.includes(name))),
  }));
}

function requireCount(done: number | null, keys: readonly Image[], table: TargetTable, mismatch: ErrorCode): void {
  if (done === keys.length) return;
  throw mismatchError(
    mismatch,
    table,
    keys.length === 1 ? keys[0] : undefined,
    `${done ?? 0} of ${keys.length} rows were there`,
  );
}

/** An affected count that is not the expected one: never papered over. */
export function mismatchError(code: ErrorCode, table: TargetTable, key: Image | undefined, what: string): RestageError {
  const named =
    key === undefined ? '' : `, key ${[...key].map(([name, value]) => `${name}=${value ?? 'NULL'}`).join(', ')}`;
  return new RestageError(code, `the target does not hold the rows that the source changed: ${what}`, {
    where: `${formatTable(table.structure)}${named}`,
    fix:
      code === 'target_drift'
        ? 'somebody else wrote to the target: restage verify names the rows'
        : 'this is a fault of Restage: keep the topics and report it',
  });
}

/** Updates that set the same columns go together. */
function groupByColumns(updates: readonly RowUpdate[]): RowUpdate[][] {
  return groupBy(updates, (update) => columnsKey(update.set));
}

function groupImages(images: readonly Image[]): Image[][] {
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
