import { describeConfigsV4, metadataV12 } from '@platformatic/kafka';
import { RestageError } from '#core/errors.ts';
import type { ConnectionPool } from './connection-pool.ts';
import { protocolCode } from './kafka-error.ts';

/** What Kafka says of topics now, not from memory. */
export interface TopicFacts {
  readonly cluster: string | null;
  /** By name; a topic that is not there has none. */
  readonly ids: Readonly<Record<string, string>>;
  readonly partitions: ReadonlyMap<string, number>;
}

const BATCH = 500;
const TOPIC = 2;

/** A missing topic fails the library's whole answer, so the answer is cut in two until it stands alone. */
export async function readTopicFacts(pool: ConnectionPool, topics: readonly string[]): Promise<TopicFacts> {
  const ids: Record<string, string> = {};
  const partitions = new Map<string, number>();
  let cluster: string | null = null;
  const ask = async (names: readonly string[]): Promise<void> => {
    try {
      const answer = await pool.request(null, 'control', (connection) =>
        metadataV12.api.async(connection, [...names], false),
      );
      cluster = answer.clusterId ?? cluster;
      for (const topic of answer.topics) {
        if (typeof topic.name !== 'string') continue;
        ids[topic.name] = topic.topicId;
        partitions.set(topic.name, topic.partitions.length);
      }
    } catch (error) {
      const code = protocolCode(error);
      if (code !== 'UNKNOWN_TOPIC_OR_PARTITION') throw error;
      if (names.length === 1) return;
      const half = Math.ceil(names.length / 2);
      await ask(names.slice(0, half));
      await ask(names.slice(half));
    }
  };
  for (let from = 0; from < topics.length; from += BATCH) await ask(topics.slice(from, from + BATCH));
  return { cluster, ids, partitions };
}

/** `wanted`: of a table's topic; `single` have one. @throws RestageError topic_altered: keys stay in their partitions. */
export function requirePartitions(facts: TopicFacts, wanted: number, single: readonly string[]): void {
  for (const [topic, count] of facts.partitions) {
    const made = single.includes(topic) ? 1 : wanted;
    if (count === made) continue;
    const what = made === 1 ? 'order is kept in one only' : `a key stays in its place among ${made} only`;
    throw topicAltered(topic, `has ${count} partitions, and ${what}`, null);
  }
}

/**
 * Topics that hold history are made without compaction, and manifests without an end. Retention of a table's topic is its owner's to
 * limit: readers notice what is gone. A user who may not describe settings is not asked for them.
 * @throws RestageError topic_altered.
 */
export async function requireSettings(
  pool: ConnectionPool,
  topics: readonly string[],
  kinds: { readonly epochs: string; readonly schemas: string },
): Promise<void> {
  for (const [topic, setting] of await readSettings(pool, topics)) {
    const policy = setting.get('cleanup.policy') ?? '';
    const wanted = topic === kinds.schemas ? 'compact' : 'delete';
    if (policy !== wanted && policy !== '')
      throw topicAltered(topic, `has cleanup.policy ${policy}`, `cleanup.policy=${wanted}`);
    if (topic !== kinds.epochs) continue;
    for (const limit of ['retention.ms', 'retention.bytes']) {
      const value = setting.get(limit) ?? '-1';
      if (value !== '-1') throw topicAltered(topic, `has ${limit} ${value}`, `${limit}=-1`);
    }
  }
}

const KEYS = ['cleanup.policy', 'retention.ms', 'retention.bytes'];

async function readSettings(
  pool: ConnectionPool,
  topics: readonly string[],
): Promise<Map<string, Map<string, string | null>>> {
  const found = new Map<string, Map<string, string | null>>();
  for (let from = 0; from < topics.length; from += BATCH) {
    const resources = topics
      .slice(from, from + BATCH)
      .map((resourceName) => ({ resourceType: TOPIC, resourceName, configurationKeys: KEYS }) as const);
    try {
      const answer = await pool.request(null, 'control', (connection) =>
        describeConfigsV4.api.async(connection, resources, false, false),
      );
      for (const { resourceName, configs } of answer.results)
        found.set(resourceName, new Map(configs.map(({ name, value }) => [name, value ?? null])));
    } catch (error) {
      const code = protocolCode(error);
      if (code === null || !(code.endsWith('AUTHORIZATION_FAILED') || code === 'UNKNOWN_TOPIC_OR_PARTITION'))
        throw error;
    }
  }
  return found;
}

function topicAltered(topic: string, what: string, setting: string | null): RestageError {
  return new RestageError('topic_altered', `a topic of this pipeline ${what}`, {
    where: `topic ${topic}`,
    fix:
      setting === null
        ? 'start the pipeline anew under another name: partitions cannot be taken back'
        : `kafka-configs.sh --alter --entity-type topics --entity-name ${topic} --add-config ${setting}; what was removed meanwhile is noticed by its readers`,
  });
}
