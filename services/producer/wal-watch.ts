import type pg from 'pg';
import { readWalSample } from '#adapters/postgres/source/wal-sample.ts';
import { pause } from '#core/backoff.ts';
import type { WalBudgetConfig } from '#core/config.ts';
import { reactTo } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import type { ServiceStatus } from '#core/status.ts';
import { WalBudget, type WalFigures, type WalState } from '#core/wal-budget.ts';

export interface WalWatchOptions {
  readonly connect: () => Promise<pg.Client>;
  readonly slot: string;
  readonly budget: WalBudgetConfig;
  /** Only the holder of the lease speaks of the slot, and gives it up. */
  readonly isHolder: () => boolean;
  readonly status: ServiceStatus;
  readonly logger: Logger;
  readonly clock: () => number;
}

const INTERVAL_MS = 2_000;

/**
 * Looks at what the slot keeps, also while Kafka is away and nothing else goes on; says so in log (once a change), status and metrics.
 * Until aborted. @throws RestageError slot_released when the budget is used up and is to be kept.
 */
export async function watchWal(options: WalWatchOptions, signal: AbortSignal): Promise<void> {
  const budget = new WalBudget(options.budget.bytes);
  let state: WalState = 'within';
  let client: pg.Client | null = null;
  try {
    for (; !signal.aborted; await pause(INTERVAL_MS, signal)) {
      if (!options.isHolder()) continue;
      try {
        client ??= await options.connect();
        const sample = await readWalSample(client, options.slot, options.clock());
        if (sample === null) continue;
        const figures = budget.note(sample);
        options.status.wal = figures;
        options.status.retainedWalBytes = figures.retainedBytes;
        if (figures.state !== state) say(options.logger, figures);
        state = figures.state;
      } catch (error) {
        if (reactTo(error).do === 'stop')
          options.logger.warn({ err: error }, 'the WAL that the slot keeps cannot be looked at');
        await client?.end().catch(() => undefined);
        client = null;
      }
      if (state === 'above' && options.budget.whenFull === 'release')
        throw released(options.slot, options.budget.bytes);
    }
  } finally {
    await client?.end().catch(() => undefined);
  }
}

function say(logger: Logger, { state, ...figures }: WalFigures): void {
  if (state === 'within') logger.info(figures, 'the slot is within its WAL budget again');
  else if (state === 'above') logger.warn(figures, 'the slot keeps more WAL than source.walBudget.bytes');
  else
    logger.warn(figures, 'the server may give the slot up at its next checkpoint: max_slot_wal_keep_size is used up');
}

function released(slot: string, budgetBytes: number): RestageError {
  const budget = `source.walBudget.bytes = ${budgetBytes}`;
  return new RestageError('slot_released', `the slot was given up, since it kept more WAL than ${budget}`, {
    where: `slot ${slot}`,
    fix: 'see to what held the pipeline up, then start it again: it makes a new slot and loads every table anew',
  });
}
