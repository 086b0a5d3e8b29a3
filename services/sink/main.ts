import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { sendDeadLetters } from '#adapters/kafka/dead-letter-topic.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { TopicGround } from '#adapters/kafka/topic-ground.ts';
import { ensureTopics } from '#adapters/kafka/topics.ts';
import { createAdvisoryLease } from '#adapters/postgres/advisory-lease.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { openTargetSchema } from '#adapters/postgres/target/open-target-schema.ts';
import type { Config } from '#core/config.ts';
import type { ServiceContext } from '#core/control.ts';
import { RestageError } from '#core/errors.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { Lease } from '#core/lease.ts';
import { declarationOf } from '#core/module/module-config.ts';
import { copyRules } from '#core/module/module-tables.ts';
import { findOutput, prefixOf } from '#core/output-ref.ts';
import { supervise } from '#core/supervise.ts';
import { epochsTopic, schemasTopic } from '#core/topic-names.ts';
import { waitingReader } from '#core/waiting-reader.ts';
import { whileGuarded } from '#core/while-guarded.ts';
import type { SendDeadLetters } from './dead-letter-relay.ts';
import { debeziumSink } from './debezium/debezium-sink.ts';
import { lanesOf } from './open-lanes.ts';
import { sink, type SinkParts } from './sink.ts';
import { standAside } from './stand-aside.ts';

/** What `restage replay` and `restage rehearse` make of a sink: one that may go on where others stand aside. */
export interface ReplayRun {
  /** Slows the reading of events down; as it is without a rate. */
  pace(reader: EpochReader): EpochReader;
  /** Dead letters stay in the target alone: a rehearsal's are nobody else's. */
  readonly keepsLetters?: boolean;
}

/**
 * A sink: topics → one target. One active instance holds the lease in the target; others wait as stand-by. While a replay has the
 * target, and where one stopped at its bound, a sink stands aside without the lease. With ordering: key each instance serves lanes too, `mostLanes` of its own.
 */
export async function main(
  config: Config,
  targetName: string,
  context: ServiceContext,
  replay: ReplayRun | null = null,
  mostLanes: number = Infinity,
): Promise<void> {
  const { logger, status, gate, hold, failpoints } = context;
  const target = config.targets.find((known) => known.name === targetName);
  if (target === undefined)
    throw new RestageError('usage', `there is no target ${JSON.stringify(targetName)}`, { where: config.file });
  const output = findOutput(config.outputs, target.output);
  const prefix = prefixOf(config, target.output);
  const application = `restage ${config.name} sink ${target.name}`;
  const connect = () => connectPg({ url: target.url, purpose: 'target', application, until: lease.lost });
  const pool = createConnectionPool(config.kafka, { clientId: application, logger });
  const lease = createAdvisoryLease({
    connect: () => connectPg({ url: target.url, purpose: 'target', application: `${application} lease` }),
    name: `${config.name}.sink.${target.name}`,
    logger,
  });
  const lanes = lanesOf({ config, target, prefix, logger, failpoints });
  const isByKey = replay === null && target.ordering === 'key';
  const lead = (signal: AbortSignal): Promise<void> =>
    supervise({ status, logger, signal, lease, clock: Date.now }, async () => {
      if (replay === null) await standAside({ config, target, lease, status, logger }, signal);
      await lease.acquire(signal, () => (status.state = 'standby'));
      if (status.state === 'standby') status.state = 'starting';
      const held = AbortSignal.any([signal, lease.lost]);
      const { replicationFactor, partitions = 1 } = config.kafka;
      const send: SendDeadLetters =
        replay?.keepsLetters === true
          ? () => Promise.resolve()
          : (letters) => sendDeadLetters(pool, config.name, replicationFactor, letters);
      const theirs = config.source.debezium ?? null;
      if (theirs !== null) {
        const parts = { config, source: theirs, target, pool, connect, context, sendDeadLetters: send };
        await debeziumSink(parts, held);
        return requireLease(lease, signal);
      }
      const ground = await TopicGround.open({ pool, prefix, partitions, logger, clock: Date.now });
      failpoints.hit('sink.topics.before');
      await ensureTopics(pool, [epochsTopic(prefix)], { replicationFactor });
      await ensureTopics(pool, [schemasTopic(prefix)], { replicationFactor, compacted: true });
      failpoints.hit('sink.topics.after');
      const reader = createKafkaEpochReader({ pool, prefix, logger });
      const schema = openTargetSchema({
        pipeline: config.name,
        target,
        rules: output === undefined ? [] : copyRules(output.rules, declarationOf(output)),
        failpoints,
        connect,
      });
      await ground.adopt([]);
      const parts: SinkParts = {
        pipeline: config.name,
        target,
        reader: waitingReader(replay?.pace(reader) ?? reader, context.waits),
        isReplay: replay !== null,
        raw: prefix === config.name ? reader : createKafkaEpochReader({ pool, prefix: config.name, logger }),
        schemasTopic: schemasTopic(prefix),
        connect,
        schema,
        status,
        gate,
        hold,
        logger,
        failpoints,
        clock: Date.now,
        ...(isByKey ? { lanes: lanes.count } : {}),
        serveLanes: (count, until) => lanes.serve({ count, most: count }, until),
        sendDeadLetters: send,
        readStructures: async () => (await readCompacted(pool, schemasTopic(prefix))).values(),
      };
      await whileGuarded(
        held,
        (until) => ground.watch(until),
        (until) => sink(parts, until),
      );
      requireLease(lease, signal);
    });
  try {
    if (!isByKey) await lead(context.signal);
    else
      await whileGuarded(context.signal, (until) => lanes.serve({ count: lanes.count, most: mostLanes }, until), lead);
  } finally {
    await lease.release();
    await pool.close();
  }
}

/** @throws RestageError lease_lost. */
function requireLease({ lost }: Lease, signal: AbortSignal): void {
  if (lost.aborted && !signal.aborted) throw new RestageError('lease_lost', 'the sink lost its lease in the target');
}
