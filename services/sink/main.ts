import { createConnectionPool, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { sendDeadLetters } from '#adapters/kafka/dead-letter-topic.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { TopicGround } from '#adapters/kafka/topic-ground.ts';
import { ensureTopics } from '#adapters/kafka/topics.ts';
import { createAdvisoryLease } from '#adapters/postgres/advisory-lease.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { openTargetSchema } from '#adapters/postgres/target/open-target-schema.ts';
import type { Config, TargetConfig } from '#core/config.ts';
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
import { lanesOf, type Lanes } from './open-lanes.ts';
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
  const { logger, status, failpoints } = context;
  const target = config.targets.find((known) => known.name === targetName);
  if (target === undefined)
    throw new RestageError('usage', `there is no target ${JSON.stringify(targetName)}`, { where: config.file });
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
  const tools = { config, target, prefix, pool, connect, context, replay, lanes, isByKey };
  const lead = (signal: AbortSignal): Promise<void> =>
    supervise({ status, logger, signal, lease, clock: Date.now }, async () => {
      if (replay === null) await standAside({ config, target, lease, status, logger }, signal);
      await lease.acquire(signal, () => (status.state = 'standby'));
      if (status.state === 'standby') status.state = 'starting';
      await apply(tools, AbortSignal.any([signal, lease.lost]));
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

interface ApplyTools {
  readonly config: Config;
  readonly target: TargetConfig;
  /** Of the topics that it reads. */
  readonly prefix: string;
  readonly pool: ConnectionPool;
  readonly connect: SinkParts['connect'];
  readonly context: ServiceContext;
  readonly replay: ReplayRun | null;
  readonly lanes: Lanes;
  /** Each key's changes in their order; else whole transactions. */
  readonly isByKey: boolean;
}

/** One attempt, by the holder of the lease. */
async function apply(tools: ApplyTools, signal: AbortSignal): Promise<void> {
  const { config, target, prefix, pool, connect, context, replay } = tools;
  const { logger, failpoints } = context;
  const { replicationFactor, partitions = 1 } = config.kafka;
  const send: SendDeadLetters =
    replay?.keepsLetters === true
      ? () => Promise.resolve()
      : (letters) => sendDeadLetters(pool, config.name, replicationFactor, letters);
  const theirs = config.source.debezium ?? null;
  if (theirs !== null)
    return debeziumSink({ config, source: theirs, target, pool, connect, context, sendDeadLetters: send }, signal);
  const ground = await TopicGround.open({ pool, prefix, partitions, logger, clock: Date.now });
  failpoints.hit('sink.topics.before');
  await ensureTopics(pool, [epochsTopic(prefix)], { replicationFactor });
  await ensureTopics(pool, [schemasTopic(prefix)], { replicationFactor, compacted: true });
  failpoints.hit('sink.topics.after');
  await ground.adopt([]);
  const parts = sinkParts(tools, send);
  await whileGuarded(
    signal,
    (until) => ground.watch(until),
    (until) => sink(parts, until),
  );
}

function sinkParts(
  { config, target, prefix, pool, connect, context, replay, lanes, isByKey }: ApplyTools,
  sendLetters: SendDeadLetters,
): SinkParts {
  const { logger, failpoints, status, gate, hold, waits } = context;
  const reader = createKafkaEpochReader({ pool, prefix, logger });
  const output = findOutput(config.outputs, target.output);
  const rules = output === undefined ? [] : copyRules(output.rules, declarationOf(output));
  return {
    pipeline: config.name,
    target,
    reader: waitingReader(replay?.pace(reader) ?? reader, waits),
    isReplay: replay !== null,
    raw: prefix === config.name ? reader : createKafkaEpochReader({ pool, prefix: config.name, logger }),
    schemasTopic: schemasTopic(prefix),
    connect,
    schema: openTargetSchema({ pipeline: config.name, target, rules, failpoints, connect }),
    status,
    gate,
    hold,
    logger,
    failpoints,
    clock: Date.now,
    ...(isByKey ? { lanes: lanes.count } : {}),
    serveLanes: (count, until) => lanes.serve({ count, most: count }, until),
    sendDeadLetters: sendLetters,
    readStructures: async () => (await readCompacted(pool, schemasTopic(prefix))).values(),
  };
}

/** @throws RestageError lease_lost. */
function requireLease({ lost }: Lease, signal: AbortSignal): void {
  if (lost.aborted && !signal.aborted) throw new RestageError('lease_lost', 'the sink lost its lease in the target');
}
