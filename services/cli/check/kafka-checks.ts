import { countBrokers } from '#adapters/kafka/broker-count.ts';
import { probeTopicCreation } from '#adapters/kafka/creation-probe.ts';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { LARGEST_MESSAGE_BYTES } from '#adapters/kafka/topics.ts';
import { RestageError } from '#core/errors.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';
import { formatTable } from '#core/table-name.ts';
import { schemasTopic } from '#core/topic-names.ts';
import { WrittenStructures } from '../../producer/written-structures.ts';
import { askKafka, withPool } from './ask-kafka.ts';
import type { CheckContext } from './check-context.ts';
import { listSome, type Check, type Finding } from './finding.ts';

/** The brokers, by requests of the kind that the services send, and what is in Kafka of the tables already. */
export const KAFKA_CHECKS: readonly Check[] = [
  { id: 'kafka.topics', severity: 'block', run: checkTopics },
  { id: 'kafka.replication', severity: 'warn', run: checkReplication },
  { id: 'scope.drift', severity: 'warn', run: checkDrift },
];

async function checkTopics({ config }: CheckContext): Promise<Finding[]> {
  try {
    await withPool(config, (pool) =>
      probeTopicCreation(
        pool,
        `${config.name}.check-${process.pid}`,
        config.kafka.replicationFactor,
        LARGEST_MESSAGE_BYTES,
      ),
    );
    return [];
  } catch (error) {
    const isUnreachable = error instanceof RestageError && error.code === 'kafka_unreachable';
    return [
      {
        what: isUnreachable ? 'Kafka does not answer' : 'Kafka would not make the topics',
        evidence: `${config.kafka.brokers.join(', ')}: ${error instanceof Error ? error.message : String(error)}`,
        fix:
          (error instanceof RestageError ? error.fix : undefined) ??
          `allow CREATE on topics with prefix ${config.name}., and set kafka.topics.replicationFactor to no more than there are brokers`,
      },
    ];
  }
}

/** The topics are the migration's history: with one copy a broker's disk takes it along. */
async function checkReplication({ config }: CheckContext): Promise<Finding[]> {
  const { replicationFactor } = config.kafka;
  const brokers = await askKafka(config, null, countBrokers);
  if (brokers === null || replicationFactor > 1) return [];
  return [
    {
      severity: brokers > 1 ? 'warn' : 'info',
      what: 'Kafka keeps one copy of the history: a disk that fails takes the pipeline with it',
      evidence: `kafka.topics.replicationFactor = ${replicationFactor}, ${brokers} ${brokers === 1 ? 'broker' : 'brokers'}`,
      fix:
        brokers > 1
          ? `kafka.topics.replicationFactor: ${Math.min(3, brokers)}, before the first start`
          : 'a cluster of three brokers, where the history must outlive one of them',
    },
  ];
}

/** Tables whose newest events in Kafka have another structure than the catalog says now: DDL that the stream has yet to bring. */
async function checkDrift({ config, tables }: CheckContext): Promise<Finding[]> {
  const written = await askKafka(config, null, async (pool) => {
    const topic = schemasTopic(config.name);
    return (await pool.isThere(topic)) ? new WrittenStructures((await readCompacted(pool, topic)).values()) : null;
  });
  if (written === null) return [];
  const changed = tables.flatMap((table) => {
    const known = written.currentOf(table.topic)?.structure;
    if (known === undefined || structureVersion(known) === structureVersion(table)) return [];
    return [`${formatTable(table)} (${describeDrift(known, table)})`];
  });
  return changed.length === 0
    ? []
    : [
        {
          what: 'the source was altered since the newest events of these tables',
          evidence: listSome(changed),
          fix: 'nothing, while the producer runs: the stream brings what was done (docs/ddl.md); plan no DDL for the switch',
        },
      ];
}

function describeDrift(before: TableStructure, now: TableStructure): string {
  const old = new Map(before.columns.map((column) => [column.name, column.type]));
  const names = new Set(now.columns.map(({ name }) => name));
  const said = [
    ...now.columns.filter(({ name }) => !old.has(name)).map(({ name }) => `+ ${name}`),
    ...before.columns.filter(({ name }) => !names.has(name)).map(({ name }) => `- ${name}`),
    ...now.columns
      .filter(({ name, type }) => old.has(name) && old.get(name) !== type)
      .map(({ name, type }) => `${name} is ${type} now`),
  ];
  return said.length === 0 ? 'its keys or its identity' : listSome(said);
}
