import type pg from 'pg';
import type { EpochReader } from '#core/epoch-reader.ts';
import { LagMeter, watchLag } from '#core/lag-meter.ts';
import { postgresTarget } from './postgres-target.ts';
import { attemptSink, type AttemptParts } from './sink-attempt.ts';
import { takeOverReplay } from './stand-aside.ts';

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
  const sessions = postgresTarget(parts.pipeline, parts.connect);
  const figures = watchLag({ ...parts, meter: lag }, AbortSignal.any([signal, ended.signal]));
  try {
    if (parts.isReplay !== true) await takeOver(parts);
    await attemptSink({ ...parts, sessions, lag }, signal);
  } finally {
    ended.abort();
    await figures;
  }
}

async function takeOver({ connect, pipeline, target }: SinkParts): Promise<void> {
  const client = await connect();
  try {
    await takeOverReplay(client, pipeline, target.name);
  } finally {
    await client.end().catch(() => undefined);
  }
}
