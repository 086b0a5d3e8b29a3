import type pg from 'pg';
import { leaseKeySql } from '#adapters/postgres/advisory-lease.ts';
import { readGate } from '#adapters/postgres/migration/side-state.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { findReplay, finishReplay, replayLease, type Replay } from '#adapters/postgres/target/replay-state.ts';
import { pause } from '#core/backoff.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import type { Lease } from '#core/lease.ts';
import type { Logger } from '#core/log.ts';
import { formatLsn } from '#core/lsn.ts';
import type { ServiceStatus } from '#core/status.ts';

const POLL_MS = 1_000;

export interface StandAsideOptions {
  readonly config: Pick<Config, 'name' | 'source'>;
  readonly target: Pick<TargetConfig, 'name' | 'url'>;
  readonly lease: Pick<Lease, 'release'>;
  readonly status: ServiceStatus;
  readonly logger: Logger;
}

/**
 * Waits, without the lease, while a switch of the migration has given the target to its application, and while a replay has the target or
 * has left it at a bound: only another replay takes that away.
 */
export async function standAside(options: StandAsideOptions, signal: AbortSignal): Promise<void> {
  const { status, logger } = options;
  let told = '';
  for (;;) {
    const why = await reasonToWait(options);
    if (why === null) break;
    await options.lease.release();
    status.state = 'paused';
    status.detail = why;
    if (why !== told) logger.warn(why);
    told = why;
    await pause(POLL_MS, signal);
    signal.throwIfAborted();
  }
  if (told === '') return;
  status.state = 'starting';
  status.detail = '';
}

async function reasonToWait({ config, target }: StandAsideOptions): Promise<string | null> {
  const application = `restage ${config.name} sink ${target.name} look`;
  const client = await connectPg({ url: target.url, purpose: 'target', application });
  try {
    const gate = await readGate(client, config.name);
    if (gate === undefined && config.source.isBaseline === true) return 'waits for the switch: the other side is live';
    if (typeof gate === 'string') return gate;
    const replay = await findReplay(client, config.name);
    if (replay === null) return null;
    if (await isAtWork(client, replay, replayLease(config.name, target.name)))
      return `a replay from ${replay.from} has this target: this sink goes on after it`;
    return replay.bound === null
      ? null
      : `replayed up to a bound, ${formatLsn(replay.bound)}: restage replay --target ${target.name} --from ${formatLsn(replay.bound)} goes on from there`;
  } finally {
    await client.end();
  }
}

async function isAtWork(client: pg.ClientBase, { isFinished }: Replay, lease: string): Promise<boolean> {
  if (isFinished) return false;
  return (await client.query(`SELECT FROM pg_locks l WHERE ${leaseKeySql('l', '$1::text')}`, [lease])).rowCount === 1;
}

/**
 * By a sink that has the lease: what a replay without a bound left undone is its own to do from here on.
 * @throws RestageError lease_lost where one began, or stopped at its bound, since it looked.
 */
export async function takeOverReplay(client: pg.ClientBase, pipeline: string, target: string): Promise<void> {
  const replay = await requireNoReplay(client, pipeline, target);
  if (replay?.isFinished === false) await finishReplay(client, pipeline);
}

/** The newest replay, which leaves the target to a sink; null where there never was one. @throws RestageError lease_lost. */
export async function requireNoReplay(client: pg.ClientBase, pipeline: string, target: string): Promise<Replay | null> {
  const replay = await findReplay(client, pipeline);
  if (replay === null) return null;
  if (replay.bound !== null || (await isAtWork(client, replay, replayLease(pipeline, target))))
    throw new RestageError('lease_lost', 'a replay has this target', { where: 'restage.replay' });
  return replay;
}
