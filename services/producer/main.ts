import { converterFactory } from '#adapters/registry/converters.ts';
import { createAdvisoryLease, type DatabaseLease } from '#adapters/postgres/advisory-lease.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { createConnectionPool, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { createKafkaEpochWriter } from '#adapters/kafka/epoch-writer.ts';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { ensureTopics, makeTopics } from '#adapters/kafka/topics.ts';
import type { Config } from '#core/config.ts';
import type { ServiceContext } from '#core/control.ts';
import { describeError, RestageError } from '#core/errors.ts';
import type { EpochWriter } from '#core/epoch-writer.ts';
import type { Logger } from '#core/log.ts';
import { supervise } from '#core/supervise.ts';
import { epochsTopic, schemasTopic } from '#core/topic-names.ts';
import { VERSION } from '#core/version.ts';
import { whileGuarded } from '#core/while-guarded.ts';
import type { StartKeeper } from './load-snapshots.ts';
import { produce } from './producer.ts';
import type { ProducerParts } from './producer-parts.ts';
import { producerLease } from '#core/session-names.ts';
import { RewriteMetSignal, Rewrites } from './rewrites.ts';
import { releaseSlot, untilSlotReleased } from './slot-release.ts';
import { createSourceGround } from './source-ground.ts';
import { watchWal } from './wal-watch.ts';

const TRANSACTION_TIMEOUT_MS = 60_000;

/** Sessions of the producer in the source; but for the lease's own, they are cut when that is lost. */
interface SourceSessions {
  readonly lease: DatabaseLease;
  readonly connect: ProducerParts['connect'];
  readonly connectShared: ProducerParts['connectShared'];
  readonly connectReplication: ProducerParts['connectReplication'];
}

/** The producer: source → `<name>.*`. One active instance holds the lease in the source; others wait as stand-by. */
export async function main(config: Config, context: ServiceContext, startKeeper: StartKeeper): Promise<void> {
  const { logger, status, signal } = context;
  const application = `restage ${config.name} producer`;
  const pool = createConnectionPool(config.kafka, { clientId: application, logger });
  const sessions = openSessions(config, application, logger);
  const { lease, connect, connectReplication } = sessions;
  const keep = config.source.keepSnapshotMinutes === 0 ? null : startKeeper;
  const open = attemptParts(config, context, { application, pool, sessions, startKeeper: keep });
  const attempt = async (until: AbortSignal): Promise<void> => {
    await lease.acquire(until, () => (status.state = 'standby'));
    if (status.state === 'standby') status.state = 'starting';
    const parts = open();
    try {
      await produce(parts, AbortSignal.any([until, lease.lost]));
    } finally {
      await Promise.all([parts.writer.close(), parts.reader.close()]);
    }
    if (lease.lost.aborted && !until.aborted)
      throw new RestageError('lease_lost', 'the producer lost its lease in the source');
  };
  const work = (until: AbortSignal): Promise<void> =>
    supervise({ status, logger, signal: until, lease, clock: Date.now }, () =>
      pastRewrites(() => attempt(until), until, logger),
    );
  const { slot, walBudget: budget } = config.source;
  const isHolder = (): boolean => lease.isHeld;
  const makeWriter = (): EpochWriter => openWriter(config, context, pool);
  try {
    const watch = { connect, slot, budget, isHolder, status, logger, clock: Date.now };
    await untilSlotReleased(
      () => whileGuarded(signal, (until) => watchWal(watch, until), work),
      isHolder,
      () => releaseSlot({ connect, connectReplication, slot, application, makeWriter, logger }),
    );
  } finally {
    await lease.release();
    await pool.close();
  }
}

function openSessions(config: Config, application: string, logger: Logger): SourceSessions {
  const { url } = config.source;
  const lease = createAdvisoryLease({
    connect: () => connectPg({ url, purpose: 'source', application: `${application} lease` }),
    name: producerLease(config.name),
    logger,
  });
  const session = { url, purpose: 'source', application } as const;
  return {
    lease,
    connect: (settings = {}) => connectPg({ ...session, settings, until: lease.lost }),
    connectShared: () => connectPg({ ...session, pipelined: true, until: lease.lost }),
    connectReplication: () => connectPg({ ...session, replication: true, until: lease.lost }),
  };
}

function openWriter({ name }: Config, { logger, failpoints }: ServiceContext, pool: ConnectionPool): EpochWriter {
  return createKafkaEpochWriter({
    pool,
    prefix: name,
    transactionalId: `${name}.producer`,
    transactionTimeoutMs: TRANSACTION_TIMEOUT_MS,
    logger,
    failpoints,
    service: 'producer',
  });
}

interface AttemptTools {
  readonly application: string;
  readonly pool: ConnectionPool;
  readonly sessions: SourceSessions;
  readonly startKeeper: StartKeeper | null;
}

/** What each attempt opens for itself, beside what outlives it. */
function attemptParts(
  config: Config,
  context: ServiceContext,
  { application, pool, sessions, startKeeper }: AttemptTools,
): () => ProducerParts {
  const { logger, failpoints, gate, waits, snapshots, status } = context;
  const { lease, connect, connectShared, connectReplication } = sessions;
  const prefix = config.name;
  const { replicationFactor, partitions = 1 } = config.kafka;
  const { publication } = config.source;
  const rewrites = new Rewrites(schemasTopic(prefix));
  const ensure = async (
    tables: readonly { readonly topic: string }[],
    beside: readonly string[] = [],
  ): Promise<void> => {
    failpoints.hit('producer.topics.before');
    await ensureTopics(pool, [epochsTopic(prefix), ...beside], { replicationFactor });
    const topics = tables.map((table) => table.topic);
    await ensureTopics(pool, topics, { replicationFactor, partitions });
    await ensureTopics(pool, [schemasTopic(prefix)], { replicationFactor, compacted: true });
    failpoints.hit('producer.topics.after');
  };
  return () => ({
    config,
    version: VERSION,
    application,
    writer: openWriter(config, context, pool),
    reader: createKafkaEpochReader({ pool, prefix, logger }),
    connect,
    connectShared,
    connectReplication,
    gate,
    waits,
    snapshots,
    rewrites,
    status,
    logger,
    failpoints,
    clock: Date.now,
    ground: createSourceGround({ pool, prefix, partitions, publication, logger, clock: Date.now }),
    startKeeper,
    leaseBackend: () => lease.backend,
    converters: converterFactory(config.kafka, config.source.profile ?? null),
    ensureTopics: ensure,
    makeTopics: (topics) => makeTopics(pool, topics, { replicationFactor, partitions }),
    readStructures: async () => (await readCompacted(pool, schemasTopic(prefix))).values(),
  });
}

/** A rewrite that was met is no failure: the next attempt announces it in its place. */
async function pastRewrites(attempt: () => Promise<void>, signal: AbortSignal, logger: Logger): Promise<void> {
  for (;;) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (!(error instanceof RewriteMetSignal) || signal.aborted) throw error;
      logger.warn({ reason: describeError(error.cause) }, 'a table was rewritten at the source: it is loaded again');
    }
  }
}
