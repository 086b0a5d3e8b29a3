import { createTopicsV7 } from '@platformatic/kafka';
import { pause } from '#core/backoff.ts';
import { RestageError } from '#core/errors.ts';
import { inGroups } from '#core/in-groups.ts';
import type { ConnectionPool } from './connection-pool.ts';
import { isRetriable, protocolCode } from './kafka-error.ts';
import { areLed, endOffset } from './offsets.ts';
import { listTopics } from './topic-list.ts';

export interface TopicOptions {
  readonly replicationFactor: number;
  /** One by default. */
  readonly partitions?: number;
  /** Keeps the latest record of each key instead of all records. */
  readonly compacted?: boolean;
  /** Of a compacted topic; by default few, so that it is compacted soon. No batch may be larger. */
  readonly segmentBytes?: number;
}

/** A broker takes two to five seconds to make so many. */
const BATCH = 500;
const ASKED_BY_NAME = 100;
const TIMEOUT_MS = 30_000;
const LEADER_POLL_MS = 50;
const LEADER_LIMIT_MS = 30_000;
export const LARGEST_MESSAGE_BYTES = 64 * 1024 * 1024;
/** For topics whose records may be as large as rows. */
export const ROW_SEGMENT_BYTES = 2 * LARGEST_MESSAGE_BYTES;
/** Kafka: "Topic Configs". The segment being written is never compacted: in its usual week or GiB a status every 2 s piles up. */
const COMPACTED: Readonly<Record<string, string>> = {
  'cleanup.policy': 'compact',
  // Kafka refuses a batch that is larger than a segment: structures come in batches of about 1 MB.
  'segment.bytes': String(4 * 1024 * 1024),
  'segment.ms': String(10 * 60_000),
  'min.cleanable.dirty.ratio': '0.1',
  // Readers take the whole topic in seconds; what is removed need not stay visible for a day.
  'delete.retention.ms': String(60 * 60_000),
};
const HISTORY: Readonly<Record<string, string>> = { 'cleanup.policy': 'delete' };

/** Makes the topics that are missing, and, but for compacted ones, with unlimited retention: they are the history. */
export async function ensureTopics(
  pool: ConnectionPool,
  names: readonly string[],
  options: TopicOptions,
): Promise<void> {
  const made = makeTopics(pool, names, options);
  while ((await made.next()).done !== true);
}

/** The same; all are asked for, then it hands over those that are there, and the others in the order of their names as they can be written to. */
export async function* makeTopics(
  pool: ConnectionPool,
  names: readonly string[],
  options: TopicOptions,
): AsyncGenerator<readonly string[]> {
  const known = (names.length > ASKED_BY_NAME ? await namesOf(pool) : null) ?? (await pool.locate(names));
  const missing = names.filter((name) => !known.has(name));
  const batches = inGroups(missing, BATCH);
  for (const batch of batches) await createTopics(pool, batch, options);
  const there = names.filter((name) => known.has(name));
  if (there.length > 0) yield there;
  for (const batch of batches) {
    await waitForLeaders(pool, batch);
    yield batch;
  }
}

/**
 * Of thousands, most are missing at first, and each of those would be an error of its own in the answer. null while a topic of whomever has
 * no leader, which fails the whole list.
 */
async function namesOf(pool: ConnectionPool): Promise<ReadonlySet<string> | null> {
  try {
    return new Set((await listTopics(pool)).map(({ name }) => name));
  } catch (error) {
    if (isRetriable(error)) return null;
    throw error;
  }
}

async function createTopics(pool: ConnectionPool, names: readonly string[], options: TopicOptions): Promise<void> {
  const settings = {
    ...(options.compacted === true ? COMPACTED : HISTORY),
    ...(options.segmentBytes === undefined ? {} : { 'segment.bytes': String(options.segmentBytes) }),
    'retention.ms': '-1',
    'retention.bytes': '-1',
    'max.message.bytes': String(LARGEST_MESSAGE_BYTES),
    // Else a broker refuses what a clock stamps that is an hour ahead of its own.
    'message.timestamp.type': 'LogAppendTime',
  };
  const configs = Object.entries(settings).map(([name, value]) => ({ name, value }));
  const topics = names.map((name) => ({
    name,
    numPartitions: options.partitions ?? 1,
    replicationFactor: options.replicationFactor,
    assignments: [],
    configs,
  }));
  try {
    await pool.request(null, 'control', (connection) =>
      createTopicsV7.api.async(connection, topics, TIMEOUT_MS, false),
    );
  } catch (error) {
    if (protocolCode(error) !== 'TOPIC_ALREADY_EXISTS') throw error;
    // One that another service made meanwhile fails the answer for all: make the others one by one.
    if (names.length > 1) for (const name of names) await createTopics(pool, [name], options);
  }
}

/** A leader in the metadata may not lead yet: only an answered request shows that it does. Thousands take a while: too late is what has stopped. */
async function waitForLeaders(pool: ConnectionPool, names: readonly string[]): Promise<void> {
  let deadline = Date.now() + LEADER_LIMIT_MS;
  for (let count = 0, known = await pool.locate(names); known.size < names.length; known = await pool.locate(names)) {
    if (known.size > count) deadline = Date.now() + LEADER_LIMIT_MS;
    else if (Date.now() > deadline) throw leaderless(names.filter((name) => !known.has(name)));
    count = known.size;
    // What is not known yet is an error each in the broker's answer: it is asked for less often, the more there is of it.
    await pause(LEADER_POLL_MS + names.length - known.size);
  }
  deadline = Date.now() + LEADER_LIMIT_MS;
  if (!(await areLed(pool, names))) for (const name of names) await waitForLeader(pool, name, deadline);
}

async function waitForLeader(pool: ConnectionPool, name: string, deadline: number): Promise<void> {
  while (!(await leads(pool, name))) {
    if (Date.now() > deadline) throw leaderless([name]);
    pool.forgetTopic(name);
    await pause(LEADER_POLL_MS);
  }
}

async function leads(pool: ConnectionPool, name: string): Promise<boolean> {
  try {
    await endOffset(pool, name, 'read_uncommitted');
    return true;
  } catch (error) {
    if (isRetriable(error) || protocolCode(error) === null) return false;
    throw error;
  }
}

function leaderless(names: readonly string[]): RestageError {
  return new RestageError('kafka_fault', 'Kafka made topics but gives them no leader', {
    where: names.slice(0, 5).join(', '),
  });
}
