import type pg from 'pg';
import { insertStatements, statementsOf, type BulkStatement } from '#adapters/postgres/target/bulk-statements.ts';
import { runChain, type ChainedStatement } from '#adapters/postgres/target/statement-chain.ts';
import type { TargetState } from '#adapters/postgres/target/target-state.ts';
import { foldChanges } from '#core/fold.ts';
import { isRefusal } from './refusal.ts';
import type { TableChanges } from './segment-apply.ts';
import type { StreamPosition } from './target.ts';

const BEGIN = { text: 'BEGIN' };
const PUT_OFF = { text: 'SET CONSTRAINTS ALL DEFERRED' };
const SETTLE = { text: 'SET CONSTRAINTS ALL IMMEDIATE' };

/**
 * Whole epochs but for their COMMIT, without a wait for any answer: that is what takes a small one's time, and of a large one the target has all it
 * needs while the next is read. False where it is to be done step by step, which tells what is wrong with it; then nothing of it is
 * left, as where it throws.
 */
export async function applyAtOnce(
  client: pg.ClientBase,
  state: Pick<TargetState, 'guardStatement' | 'moveStatement'>,
  tables: readonly TableChanges[],
  position: StreamPosition,
): Promise<boolean> {
  if (!tables.every(isBulk)) return false;
  const sent: BulkStatement[] = [];
  const statements = function* (): Generator<ChainedStatement, void, undefined> {
    yield* [BEGIN, PUT_OFF, state.guardStatement('UPDATE')];
    for (const one of bulkOf(tables)) {
      sent.push(one);
      yield one;
    }
    yield* [SETTLE, state.moveStatement(position)];
  };
  try {
    const [, , guard, ...answers] = await runChain(client, statements());
    const isWhole = sent.every(({ keys }, index) => keys === null || answers[index]?.rowCount === keys.length);
    if (guard?.rows[0]?.['ours'] === true && isWhole) return true;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    if (isRefusal(error)) return false;
    throw error;
  }
  await client.query('ROLLBACK');
  return false;
}

/** No statement's outcome decides about the next. */
function isBulk({ table, changes }: TableChanges): boolean {
  if (table.hasAlwaysIdentity || table.isWatched) return false;
  return table.isFoldable || changes.every(({ kind }) => kind === 'insert');
}

/** One after the other, so that the target works on the first while the next is made. */
function* bulkOf(tables: readonly TableChanges[]): Generator<BulkStatement, void, undefined> {
  for (const { table, changes } of tables)
    if (table.isFoldable) yield* statementsOf(table, foldChanges(changes, table.identity));
    else
      yield* insertStatements(
        table,
        changes.flatMap((change) => (change.kind === 'insert' ? [change.after] : [])),
      );
}
