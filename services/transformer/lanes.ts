import { createConnectionPool, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { createKafkaEpochWriter } from '#adapters/kafka/epoch-writer.ts';
import { createGroupLease } from '#adapters/kafka/group-lease.ts';
import { ensureTopics } from '#adapters/kafka/topics.ts';
import { RestageError } from '#core/errors.ts';
import type { Lease } from '#core/lease.ts';
import { newStatus, type ServiceStatus } from '#core/status.ts';
import { supervise } from '#core/supervise.ts';
import { sharesTopic } from '#core/topic-names.ts';
import { whileGuarded } from '#core/while-guarded.ts';
import { joinLanes } from './joiner.ts';
import { takeLanes } from './lane-seats.ts';
import {
  holdLease,
  laneId,
  openGrounds,
  outputNames,
  shapeOutput,
  TRANSACTION_TIMEOUT_MS,
  type OutputWork,
} from './output-work.ts';

type SharedWork = Pick<OutputWork, 'config' | 'output' | 'context' | 'acceptsRules'>;

/**
 * An output with `ordering: key`: a lane for each partition, and one who puts together what they make. This process takes those that it wins;
 * one that fails for good ends all of this process.
 */
export async function runLanes(shared: SharedWork, most: number | undefined): Promise<void> {
  const { config, context, output } = shared;
  const { partitions = 1 } = config.kafka;
  const failed = new AbortController();
  const signal = AbortSignal.any([context.signal, failed.signal]);
  const names = outputNames(config, output);
  const lanes = new Map<number, ServiceStatus>();
  const run = (lane: number | null, until: AbortSignal, withinMs: number | null): Promise<boolean> =>
    withLease(shared, lane === null ? names.id : laneId(names, lane), async (pool, lease) => {
      if (withinMs !== null && !(await isWon(lease, AbortSignal.any([until, AbortSignal.timeout(withinMs)]))))
        return false;
      const status = lane === null ? context.status : laneStatus(context.status);
      if (lane !== null) lanes.set(lane, status);
      const work = { ...shared, status, pool, lane };
      const { logger } = context;
      try {
        await supervise({ status, logger, signal: until, lease, clock: Date.now }, () =>
          lane === null ? joinOutput(work, lanes, lease, until) : shapeOutput(work, lease, until),
        );
      } finally {
        if (lane !== null) lanes.delete(lane);
      }
      return true;
    });
  const orFail = async (running: Promise<unknown>): Promise<void> => {
    try {
      await running;
    } catch (error) {
      failed.abort();
      throw error;
    }
  };
  const seats = { lanes: partitions, most: Math.min(most ?? partitions, partitions), run };
  const ended = await Promise.allSettled([orFail(run(null, signal, null)), orFail(takeLanes(seats, signal))]);
  for (const one of ended) if (one.status === 'rejected') throw one.reason;
}

/** A long poll of one lane must not stand in front of another's: each has connections of its own. */
async function withLease<T>(
  { config, context: { logger } }: SharedWork,
  id: string,
  work: (pool: ConnectionPool, lease: Lease) => Promise<T>,
): Promise<T> {
  const pool = createConnectionPool(config.kafka, { clientId: id, logger });
  const lease = createGroupLease({ pool, group: id, logger });
  try {
    return await work(pool, lease);
  } finally {
    await lease.release();
    await pool.close();
  }
}

async function isWon(lease: Lease, signal: AbortSignal): Promise<boolean> {
  try {
    await lease.acquire(signal, () => undefined);
    return true;
  } catch (error) {
    if (signal.aborted) return false;
    throw error;
  }
}

/** Its events count for the process; where the output stands the one who joins says. */
function laneStatus(process: ServiceStatus): ServiceStatus {
  return Object.assign(newStatus('transformer', process.instance), { events: process.events });
}

async function joinOutput(
  work: OutputWork,
  lanes: ReadonlyMap<number, ServiceStatus>,
  lease: Lease,
  signal: AbortSignal,
): Promise<void> {
  const { config, output, context, status, pool } = work;
  const { id, shaped } = outputNames(config, output);
  const { logger, failpoints, gate } = context;
  const { replicationFactor, partitions = 1 } = config.kafka;
  const grounds = await openGrounds(work);
  const held = await holdLease(lease, status, signal);
  await grounds.shaped.remember([sharesTopic(shaped)], null);
  const transactionTimeoutMs = TRANSACTION_TIMEOUT_MS;
  const writer = createKafkaEpochWriter({
    pool,
    prefix: shaped,
    transactionalId: id,
    transactionTimeoutMs,
    logger,
    failpoints,
    service: 'transformer',
  });
  const shares = Array.from({ length: partitions }, (_, partition) => {
    const own = createConnectionPool(config.kafka, { clientId: `${id}.shares.${partition}`, logger });
    const manifests = { topic: sharesTopic(shaped), partition };
    return { own, reader: createKafkaEpochReader({ pool: own, prefix: shaped, manifests, logger }) };
  });
  const remember = async (topics: readonly string[]): Promise<void> => {
    await ensureTopics(pool, topics, { replicationFactor, partitions });
    await grounds.shaped.remember(topics, null);
  };
  const onJoined = (): void => takeLag(status, [...lanes.values()]);
  try {
    const parts = {
      lanes: shares.map(({ reader }) => reader),
      writer,
      remember,
      onJoined,
      status,
      gate,
      clock: Date.now,
    };
    await whileGuarded(
      held,
      (until) => grounds.shaped.watch(until),
      (until) => joinLanes(parts, until),
    );
  } finally {
    await Promise.all([writer.close(), ...shares.map(({ own }) => own.close())]);
  }
  if (lease.lost.aborted && !signal.aborted) throw new RestageError('lease_lost', 'the transformer lost its lease');
}

/** As far as the lanes of this process tell it. */
function takeLag(status: ServiceStatus, lanes: readonly ServiceStatus[]): void {
  status.lagBytes = Math.max(0, ...lanes.map(({ lagBytes }) => lagBytes));
  status.lagSeconds = Math.max(0, ...lanes.map(({ lagSeconds }) => lagSeconds));
  status.lagEvents = lanes.reduce((sum, { lagEvents }) => sum + lagEvents, 0);
}
