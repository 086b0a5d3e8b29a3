import type pg from 'pg';
import {
  groupImages,
  insertStatement,
  statementsOf,
  type BulkStatement,
} from '#adapters/postgres/target/bulk-statements.ts';
import { runChain } from '#adapters/postgres/target/statement-chain.ts';
import type { TargetState } from '#adapters/postgres/target/target-state.ts';
import { foldChanges } from '#core/fold.ts';
import { isRefusal } from './refusal.ts';
import type { TableChanges } from './segment-apply.ts';
import type { StreamPosition } from './target.ts';

const BEGIN = { text: 'BEGIN' };
const PUT_OFF = { text: 'SET CONSTRAINTS ALL DEFERRED' };
const SETTLE = { text: 'SET CONSTRAINTS ALL IMMEDIATE' };

/**
 * A whole epoch but for its COMMIT, in one message: what takes a small one's time is to wait for one answer after another. False where it
 * is to be done step by step, which tells what is wrong with it; then nothing of it is left, as where it throws.
 */
export async function applyAtOnce(
  client: pg.ClientBase,
  state: Pick<TargetState, 'guardStatement' | 'moveStatement'>,
  tables: readonly TableChanges[],
  position: StreamPosition,
): Promise<boolean> {
  const statements = bulkOf(tables);
  if (statements === null) return false;
  try {
    const [, , guard, ...answers] = await runChain(client, [
      BEGIN,
      PUT_OFF,
      state.guardStatement('UPDATE'),
      ...statements,
      SETTLE,
      state.moveStatement(position),
    ]);
    const isWhole = statements.every(({ keys }, index) => keys === null || answers[index]?.rowCount === keys.length);
    if (guard?.rows[0]?.['ours'] === true && isWhole) return true;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    if (isRefusal(error)) return false;
    throw error;
  }
  await client.query('ROLLBACK');
  return false;
}

/** null where one statement's outcome decides about the next. */
function bulkOf(tables: readonly TableChanges[]): BulkStatement[] | null {
  const isBulk = tables.every(({ table, changes }) => {
    if (table.hasAlwaysIdentity || table.isWatched) return false;
    return table.isFoldable || changes.every(({ kind }) => kind === 'insert');
  });
  if (!isBulk) return null;
  return tables.flatMap(({ table, changes }) => {
    if (table.isFoldable) return statementsOf(table, foldChanges(changes, table.identity));
    const inserts = changes.flatMap((change) => (change.kind === 'insert' ? [change.after] : []));
    return groupImages(inserts).map((rows) => insertStatement(table, rows));
  });
}
