import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { TargetState } from '#adapters/postgres/target/target-state.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { reactTo } from '#core/error-policy.ts';
import { LagMeter, watchLag } from '#core/lag-meter.ts';
import { postgresTarget } from './postgres-target.ts';
import { attemptSink, type AttemptParts } from './sink-attempt.ts';
import { requireNoReplay, takeOverReplay } from './stand-aside.ts';

/** What one attempt of a sink of a PostgreSQL target needs; everything that talks to the outside is handed in. */
export interface SinkParts extends Omit<AttemptParts, 'sessions' | 'lag'> {
  /** Of the raw topics, for figures only: `reader` itself where the sink reads those. */
  readonly raw: Pick<EpochReader, 'last'>;
  readonly connect: () => Promise<pg.Client>;
  /** It is a replay's own: others give way to those. */
  readonly isReplay?: boolean;
}

/** One attempt, by the holder of the lease: goes on where the checkpoint says, until aborted or until something fails. */
export async function sink(parts: SinkParts, signal: AbortSignal): Promise<void> {
  const ended = new AbortController();
  const lag = new LagMeter(parts.schemasTopic);
  const state = new TargetState(parts.pipeline, randomUUID());
  const sessions = postgresTarget(parts.pipeline, parts.connect, state);
  const figures = watchLag({ ...parts, meter: lag }, AbortSignal.any([signal, ended.signal]));
  try {
    if (parts.isReplay !== true)
      await withClient(parts, (client) => takeOverReplay(client, parts.pipeline, parts.target.name));
    await attemptSink({ ...parts, sessions, lag }, signal);
  } catch (error) {
    if (reactTo(error).do === 'stop') await requireUndisplaced(parts, state);
    throw error;
  } finally {
    ended.abort();
    await figures;
  }
}

/**
 * A sink that was displaced while it looked saw half of what it knew: a forced replay empties the target and takes its tables back to their
 * first columns. What that made it say would stop it for good, though it has only to stand aside.
 * @throws RestageError lease_lost, or why it cannot be told now.
 */
async function requireUndisplaced(parts: SinkParts, state: TargetState): Promise<void> {
  try {
    await withClient(parts, async (client) => {
      await state.requireUntaken(client);
      if (parts.isReplay !== true) await requireNoReplay(client, parts.pipeline, parts.target.name);
    });
  } catch (found) {
    if (reactTo(found).do === 'stop') return;
    throw found;
  }
}

async function withClient({ connect }: SinkParts, work: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = await connect();
  try {
    await work(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}
