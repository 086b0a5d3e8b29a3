import type pg from 'pg';
import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { RowChange } from '#core/change.ts';
import type { ErrorCode } from '#core/errors.ts';
import { applyPart, type Cut } from '../../services/sink/epoch-apply.ts';
import { changesOf } from '../../services/sink/postgres-target.ts';

/** One part in one transaction, as the sink's stream pass frames it; changes by table name. */
export async function applyInTransaction(
  client: pg.Client,
  tableNamed: (name: string) => TargetTable,
  changes: readonly (readonly [string, readonly RowChange[]])[],
  { cuts, mismatch }: { readonly cuts: readonly Cut[]; readonly mismatch: ErrorCode },
): Promise<void> {
  const groups = changes.map(([name, list]) => ({ structure: tableNamed(name).structure, version: 0, changes: list }));
  await client.query('BEGIN');
  try {
    await client.query('SET CONSTRAINTS ALL DEFERRED');
    await applyPart(changesOf(client), groups, cuts, {
      match: (some) =>
        Promise.resolve(some.map((group) => ({ table: tableNamed(group.structure.table), changes: group.changes }))),
      forget: () => undefined,
      mismatch,
      ranks: null,
    });
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}
