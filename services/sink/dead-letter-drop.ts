import type pg from 'pg';
import { DeadLetterStore } from '#adapters/postgres/target/dead-letter-store.ts';
import type { Failpoints } from '#core/failpoints.ts';

export interface DropOptions {
  readonly client: pg.ClientBase;
  readonly pipeline: string;
  readonly ids: readonly string[];
  /** What waits behind them: dropped too, or left to be retried by itself. */
  readonly behind: 'free' | 'drop';
  readonly isDryRun: boolean;
  readonly failpoints: Failpoints;
}

export interface DropOutcome {
  readonly dropped: readonly string[];
  /** Waiting still, now behind nothing that was dropped. */
  readonly freed: readonly string[];
}

/** Gives up dead letters for good, in one transaction under the checkpoint's lock (invariant 2). What is dropped already is left out. */
export async function dropDeadLetters(options: DropOptions): Promise<DropOutcome> {
  const { client, pipeline, ids, behind, isDryRun, failpoints } = options;
  const store = new DeadLetterStore(client, pipeline);
  await client.query('BEGIN');
  try {
    await client.query('SELECT FROM restage.checkpoint WHERE pipeline = $1 FOR UPDATE', [pipeline]);
    const after = await store.behind(ids);
    const dropped: string[] = [];
    for (const id of behind === 'drop' ? [...ids, ...after] : ids)
      if (await store.settle(id, 'dropped')) dropped.push(id);
    const freed = behind === 'drop' ? [] : after;
    if (behind === 'free') await store.free(ids);
    if (isDryRun) {
      await client.query('ROLLBACK');
      return { dropped, freed };
    }
    failpoints.hit('dlq.drop.before');
    await client.query('COMMIT');
    failpoints.hit('dlq.drop.after');
    return { dropped, freed };
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}
