import type pg from 'pg';
import { changeRows, deleteRows, insertRows } from '#adapters/postgres/target/bulk-apply.ts';
import { applyRow } from '#adapters/postgres/target/row-apply.ts';
import { isWholeRow, WholeRowRun } from '#adapters/postgres/target/whole-row-apply.ts';
import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { Image, RowChange } from '#core/change.ts';
import { RestageError, type ErrorCode } from '#core/errors.ts';
import { foldChanges, type FoldedTable } from '#core/fold.ts';
import { comparePositions } from '#core/position.ts';
import { tableKey } from '#core/table-name.ts';
import { describeChange, isRefusal, refusalError } from './refusal.ts';

/** One table's changes of a part, in order. */
export interface TableChanges {
  readonly table: TargetTable;
  readonly changes: readonly RowChange[];
}

/** Each table's place among the others, by tableKey: a foreign key's parent before its child. */
export type TableRanks = ReadonlyMap<string, number>;

/** Folded where the table may be; else null, and its changes go in their order. */
interface TableWork extends TableChanges {
  readonly folded: FoldedTable | null;
}

type Attempt = (client: pg.ClientBase, work: readonly TableWork[], mismatch: ErrorCode) => Promise<void>;

/** Tables that no foreign key names come first. */
export function rankOf(table: TargetTable, ranks: TableRanks | null): number {
  return ranks?.get(tableKey(table.structure)) ?? -1;
}

/**
 * Applies changes between which no TRUNCATE stands: folded and in bulk, or, where the target refuses that or misses a row, once more
 * row by row in source order. Where foreign keys are checked (`ranks`), children's deletes come before parents', and parents' inserts
 * before children's; there are two bulk orders to try, for a delete must wait where a row was first led to another parent, and may
 * not wait where its unique value was given to another row; and what neither meets is done transaction by transaction, for the order
 * of the source alone does not meet a cascade, whose parent was deleted first.
 * @throws RestageError target_constraint, target_value, target_refused, or `mismatch` where the target does not hold the rows that changed.
 */
export async function applySegment(
  client: pg.ClientBase,
  tables: readonly TableChanges[],
  mismatch: ErrorCode,
  ranks: TableRanks | null,
): Promise<void> {
  if (tables.length === 0) return;
  await client.query('SAVEPOINT segment');
  if (await isAppliedInBulk(client, tables, mismatch, ranks)) return;
  const transactions = ranks === null ? [] : splitByCommit(tables);
  if (transactions.length > 1) for (const one of transactions) await applySegment(client, one, mismatch, ranks);
  else {
    await applyInOrder(client, tables, mismatch);
    await settleEarly(client);
  }
  await client.query('RELEASE SAVEPOINT segment');
}

async function isAppliedInBulk(
  client: pg.ClientBase,
  tables: readonly TableChanges[],
  mismatch: ErrorCode,
  ranks: TableRanks | null,
): Promise<boolean> {
  const work = tables
    .map(({ table, changes }) => ({
      table,
      changes,
      folded: table.isFoldable ? foldChanges(changes, table.identity) : null,
    }))
    .toSorted((a, b) => rankOf(a.table, ranks) - rankOf(b.table, ranks));
  const attempts = ranks === null ? [tableByTable] : [deletesFirst, deletesLast];
  for (const attempt of attempts)
    if (await isApplied(client, () => attempt(client, work, mismatch), mismatch)) return true;
  return false;
}

/** The source's transactions, in the order of their commits. */
function splitByCommit(tables: readonly TableChanges[]): TableChanges[][] {
  const transactions = new Map<bigint, TableChanges[]>();
  for (const { table, changes } of tables) {
    const own = new Map<bigint, RowChange[]>();
    for (const change of changes) {
      const known = own.get(change.position.commit);
      if (known === undefined) own.set(change.position.commit, [change]);
      else known.push(change);
    }
    for (const [commit, list] of own)
      transactions.set(commit, [...(transactions.get(commit) ?? []), { table, changes: list }]);
  }
  return [...transactions].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, list]) => list);
}

/** A TRUNCATE refuses a table that has checks put off; those of an unfinished transaction may have to wait all the same. */
async function settleEarly(client: pg.ClientBase): Promise<void> {
  await client.query('SAVEPOINT segment');
  if (!(await isApplied(client, () => Promise.resolve(), 'bug'))) await client.query('RELEASE SAVEPOINT segment');
}

/** Ends the savepoint `segment`. False when the target refused some of it or missed a row; then all of it is undone, and the savepoint stays. */
async function isApplied(client: pg.ClientBase, attempt: () => Promise<void>, mismatch: ErrorCode): Promise<boolean> {
  try {
    await attempt();
    // One message: each more would be an answer to wait for in every epoch.
    await client.query('SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED; RELEASE SAVEPOINT segment');
    return true;
  } catch (error) {
    if (!isRefusal(error) && !(error instanceof RestageError && error.code === mismatch)) throw error;
    await client.query('ROLLBACK TO SAVEPOINT segment');
    return false;
  }
}

const tableByTable: Attempt = async (client, work, mismatch) => {
  for (const one of work) {
    if (one.folded !== null) await deleteRows(client, one.table, one.folded, mismatch);
    await applyRest(client, one, mismatch);
  }
};

const deletesFirst: Attempt = async (client, work, mismatch) => {
  await applyDeletes(client, work, mismatch);
  for (const one of work) await applyRest(client, one, mismatch);
};

const deletesLast: Attempt = async (client, work, mismatch) => {
  for (const one of work) await applyRest(client, one, mismatch);
  await applyDeletes(client, work, mismatch);
};

/** Children before parents. */
async function applyDeletes(client: pg.ClientBase, work: readonly TableWork[], mismatch: ErrorCode): Promise<void> {
  for (const { table, folded } of work.toReversed())
    if (folded !== null) await deleteRows(client, table, folded, mismatch);
}

/** All but the folded deletes. */
async function applyRest(
  client: pg.ClientBase,
  { table, changes, folded }: TableWork,
  mismatch: ErrorCode,
): Promise<void> {
  if (folded === null) await applyUnfolded(client, table, changes, mismatch);
  else await changeRows(client, table, folded, mismatch);
}

/** In the source's order; inserts, and changes of whole rows, that nothing stands between go together, unless a trigger watches. */
async function applyUnfolded(
  client: pg.ClientBase,
  table: TargetTable,
  changes: readonly RowChange[],
  mismatch: ErrorCode,
): Promise<void> {
  let inserts: Image[] = [];
  const run = new WholeRowRun(table);
  const isKeyless = table.identity.length === 0 && !table.hasAlwaysIdentity;
  const finish = async (): Promise<void> => {
    await run.apply(client, mismatch);
    await insertRows(client, table, inserts);
    inserts = [];
  };
  for (const change of changes) {
    if (table.isWatched) await applyRow(client, table, change, mismatch);
    else if (change.kind === 'insert') {
      await run.apply(client, mismatch);
      inserts.push(change.after);
    } else if (!isKeyless || !isWholeRow(change)) {
      await finish();
      await applyRow(client, table, change, mismatch);
    } else {
      if (inserts.length > 0) await finish();
      if (run.add(change)) continue;
      await finish();
      run.add(change);
    }
  }
  await finish();
}

/** The reference: what each change says, one after another. Finds the one that the target refuses, and its key. */
async function applyInOrder(
  client: pg.ClientBase,
  tables: readonly TableChanges[],
  mismatch: ErrorCode,
): Promise<void> {
  const all = tables.flatMap(({ table, changes }) => changes.map((change) => ({ table, change })));
  all.sort((a, b) => comparePositions(a.change.position, b.change.position));
  for (const { table, change } of all) {
    try {
      await applyRow(client, table, change, mismatch);
    } catch (error) {
      throw isRefusal(error) ? refusalError(error, describeChange(table, change), change) : error;
    }
  }
}
