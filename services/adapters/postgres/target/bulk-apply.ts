import type pg from 'pg';
import type { Image } from '#core/change.ts';
import { RestageError, type ErrorCode } from '#core/errors.ts';
import type { FoldedTable, RowUpdate } from '#core/fold.ts';
import { valuesIn } from '#core/row-image.ts';
import { formatTable } from '#core/table-name.ts';
import {
  copiedColumns,
  deleteStatement,
  groupImages,
  groupUpdates,
  insertStatement,
  settableColumns,
  updateStatement,
  type BulkStatement,
} from './bulk-statements.ts';
import { copyRows } from './copy-rows.ts';
import { replaceIdentityValues } from './identity-columns.ts';
import { runStatement } from './long-query.ts';
import { castText } from '../value-type.ts';
import { arraysOf, columnOf, matchKeys, unnest } from './row-arrays.ts';
import type { TargetTable } from './target-table.ts';

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
  if (deletes.length > 0) await run(client, deleteStatement(table, deletes), mismatch);
}

/** Renames, updates, inserts: in this order. */
export async function changeRows(
  client: pg.ClientBase,
  table: TargetTable,
  folded: FoldedTable,
  mismatch: ErrorCode,
): Promise<void> {
  for (const group of groupUpdates(folded.renames)) await bulkUpdate(client, table, group, true, mismatch);
  for (const group of groupUpdates(folded.updates)) await bulkUpdate(client, table, group, false, mismatch);
  await insertRows(client, table, folded.inserts);
}

/** Rows that nothing stands between. Their order among each other is kept where they name the same columns. */
export async function insertRows(client: pg.ClientBase, table: TargetTable, rows: readonly Image[]): Promise<void> {
  for (const group of groupImages(rows)) await bulkInsert(client, table, group);
}

async function bulkUpdate(
  client: pg.ClientBase,
  table: TargetTable,
  updates: readonly RowUpdate[],
  isRename: boolean,
  mismatch: ErrorCode,
): Promise<void> {
  const always = settableColumns(table, updates, isRename).filter(
    (name) => table.columns.get(name)?.isAlwaysIdentity === true,
  );
  if (always.length > 0) {
    const moved = await moveIdentityValues(client, table, updates, always);
    return bulkUpdate(client, table, moved, isRename, mismatch);
  }
  const statement = updateStatement(table, updates, isRename);
  if (statement !== null) await run(client, statement, mismatch);
}

async function bulkInsert(client: pg.ClientBase, table: TargetTable, rows: readonly Image[]): Promise<void> {
  const names = copiedColumns(table, rows);
  if (names === null) {
    const { text, values } = insertStatement(table, rows);
    await runStatement(client, text, values);
    return;
  }
  await copyRows(
    client,
    table.sql,
    names,
    rows.map((row) => valuesIn(row, names)),
  );
}

async function run(
  client: pg.ClientBase,
  { table, text, values, keys }: BulkStatement,
  mismatch: ErrorCode,
): Promise<void> {
  const { rowCount } = await runStatement(client, text, values);
  if (keys !== null) requireCount(rowCount, keys, table, mismatch);
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
    parameters: [...arraysOf(keys, identity), ...arraysOf(sets, always)],
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
