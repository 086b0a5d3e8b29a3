import { converterFactory } from '#adapters/registry/converters.ts';
import { createAdvisoryLease } from '#adapters/postgres/advisory-lease.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { createKafkaEpochWriter } from '#adapters/kafka/epoch-writer.ts';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { ensureTopics, makeTopics } from '#adapters/kafka/topics.ts';
import type { Config } from '#core/config.ts';
import type { ServiceContext } from '#core/control.ts';
import { describeError, RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { supervise } from '#core/supervise.ts';
import { epochsTopic, schemasTopic } from '#core/topic-names.ts';
import { VERSION } from '#core/version.ts';
import { whileGuarded } from '#core/while-guarded.ts';
import type { StartKeeper } from './load-snapshots.ts';
import { produce } from './producer.ts';
import { producerLease } from '#core/session-names.ts';
import { RewriteMetSignal, Rewrites } from './rewrites.ts';
import { releaseSlot, untilSlotReleased } from './slot-release.ts';
import { createSourceGround } from './source-ground.ts';
import { watchWal } from './wal-watch.ts';

const TRANSACTION_TIMEOUT_MS = 60_000;

/** The producer: source → `<name>.*`. One active instance holds the lease in the source; others wait as stand-by. */
export async function main(config: Config, context: ServiceContext, startKeeper: StartKeeper): Promise<void> {
  const { logger, status, signal, gate, snapshots, failpoints, waits } = context;
  const application = `restage ${config.name} producer`;
  const { url } = config.source;
  const connect = (settings: Record<string, string> = {}) =>
    connectPg({ url, purpose: 'source', application, settings, until: lease.lost });
  const pool = createConnectionPool(config.kafka, { clientId: application, logger });
  const lease = createAdvisoryLease({
    connect: () => connectPg({ url, purpose: 'source', application: `${application} lease` }),
    name: producerLease(config.name),
    logger,
  });
  const prefix = config.name;
  const rewrites = new Rewrites(schemasTopic(prefix));
  const connectShared = () => connectPg({ url, purpose: 'source', application, pipelined: true, until: lease.lost });
  const connectReplication = () =>
    connectPg({ url, purpose: 'source', application, replication: true, until: lease.lost });
  const makeWriter = () =>
    createKafkaEpochWriter({
      pool,
      prefix,
      transactionalId: `${prefix}.producer`,
      transactionTimeoutMs: TRANSACTION_TIMEOUT_MS,
      logger,
      failpoints,
      service: 'producer',
    });
  const { slot, walBudget: budget } = config.source;
  const isHolder = () => lease.isHeld;
  const work = async (until: AbortSignal): Promise<void> => {
    const attempt = async (): Promise<void> => {
      await lease.acquire(until, () => (status.state = 'standby'));
      if (status.state === 'standby') status.state = 'starting';
      const held = AbortSignal.any([until, lease.lost]);
      const writer = makeWriter();
      const reader = createKafkaEpochReader({ pool, prefix, logger });
      try {
        await produce(
          {
            config,
            version: VERSION,
            application,
            writer,
            reader,
            connect,
            connectShared,
            gate,
            waits,
            snapshots,
            rewrites,
            status,
            logger,
            failpoints,
            clock: Date.now,
            ground: createSourceGround({
              pool,
              prefix,
              partitions: config.kafka.partitions ?? 1,
              publication: config.source.publication,
              logger,
              clock: Date.now,
            }),
            connectReplication,
            startKeeper: config.source.keepSnapshotMinutes === 0 ? null : startKeeper,
            leaseBackend: () => lease.backend,
            converters: converterFactory(config.kafka, config.source.profile ?? null),
            ensureTopics: async (tables, beside = []) => {
              const { replicationFactor, partitions = 1 } = config.kafka;
              failpoints.hit('producer.topics.before');
              await ensureTopics(pool, [epochsTopic(prefix), ...beside], { replicationFactor });
              const topics = tables.map((table) => table.topic);
              await ensureTopics(pool, topics, { replicationFactor, partitions });
              await ensureTopics(pool, [schemasTopic(prefix)], { replicationFactor, compacted: true });
              failpoints.hit('producer.topics.after');
            },
            makeTopics: (topics) => {
              const { replicationFactor, partitions = 1 } = config.kafka;
              return makeTopics(pool, topics, { replicationFactor, partitions });
            },
            readStructures: async () => (await readCompacted(pool, schemasTopic(prefix))).values(),
          },
          held,
        );
      } finally {
        await Promise.all([writer.close(), reader.close()]);
      }
      if (lease.lost.aborted && !until.aborted)
        throw new RestageError('lease_lost', 'the producer lost its lease in the source');
    };
    await supervise({ status, logger, signal: until, lease, clock: Date.now }, () =>
      pastRewrites(attempt, until, logger),
    );
  };
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
