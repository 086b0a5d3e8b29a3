import { ConfigResourceTypes, Kafka, logLevel } from 'kafkajs';
import pino from 'pino';
import { expect, test } from 'vitest';
import { appendRecord, readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { TopicGround } from '#adapters/kafka/topic-ground.ts';
import { areLed } from '#adapters/kafka/offsets.ts';
import { ensureTopics, makeTopics } from '#adapters/kafka/topics.ts';
import { produceBatches } from '#adapters/kafka/produce.ts';
import { RecordBatchBuilder } from '#core/record-batch.ts';
import { encodeHeaders } from '#core/fixed-headers.ts';
import { testKafka } from '../harness/servers.ts';
import { openTestPool } from '../harness/test-pool.ts';

const brokers = testKafka().split(',');
const prefix = `topics-${process.pid}`;

test('history is kept without limit, and compacted topics are rolled and cleaned soon, with room for the largest batch', async () => {
  await using pool = openTestPool();
  await ensureTopics(pool, [`${prefix}.epochs`], { replicationFactor: 1 });
  await ensureTopics(pool, [`${prefix}.control`], { replicationFactor: 1, compacted: true });
  expect(await configsOf(`${prefix}.epochs`)).toMatchObject({
    'cleanup.policy': 'delete',
    'retention.ms': '-1',
    'retention.bytes': '-1',
  });
  expect(await configsOf(`${prefix}.control`)).toMatchObject({
    'cleanup.policy': 'compact',
    'segment.bytes': '4194304',
    'segment.ms': '600000',
    'min.cleanable.dirty.ratio': '0.1',
    'delete.retention.ms': '3600000',
  });
  const large = 'x'.repeat(2_000_000);
  await appendRecord(pool, `${prefix}.control`, 'key', large);
  expect((await readCompacted(pool, `${prefix}.control`)).get('key')?.toString()).toBe(large);
});

test('topics that are remembered while Kafka is asked for the others are not said to be gone', async () => {
  await using pool = openTestPool();
  const logger = pino({ level: 'silent' });
  const ground = { prefix: `${prefix}.ground`, partitions: 1, logger, clock: Date.now };
  const [early, late] = [`${ground.prefix}.early`, `${ground.prefix}.late`];
  await ensureTopics(pool, [`${ground.prefix}.epochs`, early, late], { replicationFactor: 1 });
  await ensureTopics(pool, [`${ground.prefix}.schemas`], { replicationFactor: 1, compacted: true });
  await (await TopicGround.open({ ...ground, pool })).remember([early], null);
  let whenAnswered = (): Promise<void> => Promise.resolve();
  const inner = pool.request.bind(pool);
  pool.request = async (...asked) => {
    const answer = await inner(...asked);
    const wait = whenAnswered;
    whenAnswered = () => Promise.resolve();
    await wait();
    return answer;
  };
  const held = await TopicGround.open({ ...ground, pool });
  whenAnswered = () => held.remember([late], null);
  await held.require();
  expect(Object.keys(held.known?.topics ?? {})).toContain(late);
});

test('hundreds of topics are made at once, of which some are there, and each is led when it is said to be', async () => {
  await using pool = openTestPool();
  await using fresh = openTestPool();
  const names = Array.from({ length: 120 }, (_, index) => `${prefix}.many.${index}`);
  await ensureTopics(pool, names.slice(0, 20), { replicationFactor: 1 });
  await ensureTopics(pool, names, { replicationFactor: 1 });
  // Asked for together with one that is not there, the others are found all the same.
  const places = await fresh.locate([...names, `${prefix}.none`]);
  expect([...places.keys()]).toEqual(names);
  expect(await areLed(fresh, names)).toBe(true);
  await ensureTopics(fresh, names, { replicationFactor: 1 });
});

test('a clock that is a year ahead is no reason to refuse a record', async () => {
  await using pool = openTestPool();
  const write = async (topic: string): Promise<void> => {
    const builder = new RecordBatchBuilder();
    builder.append('key', 'value', encodeHeaders([]));
    const timestampMs = Date.now() + 365 * 24 * 3_600_000;
    const stamp = { producerId: -1n, producerEpoch: -1, baseSequence: -1, timestampMs };
    const batch = builder.seal({ ...stamp, compress: false, transactional: false });
    const leader = await pool.leaderOf(topic);
    await pool.request(leader, 'control', (connection) =>
      produceBatches(connection, null, [{ topic, partition: 0, batch }]),
    );
  };
  await ensureTopics(pool, [`${prefix}.ahead`], { replicationFactor: 1, compacted: true });
  await write(`${prefix}.ahead`);
  expect((await readCompacted(pool, `${prefix}.ahead`)).get('key')?.toString()).toBe('value');
  // The broker's own default would not take it: INVALID_TIMESTAMP.
  const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: `${prefix}.plain` }], waitForLeaders: true });
  await admin.disconnect();
  await expect(write(`${prefix}.plain`)).rejects.toThrow('code 32');
});

test('topics that are not there do not take those out of an answer that are', async () => {
  await using pool = openTestPool();
  const there = `${prefix}.there`;
  await ensureTopics(pool, [there], { replicationFactor: 1 });
  pool.forgetTopic(there);
  // More than one question: what is missing fails the answer to the second.
  const missing = Array.from({ length: 500 }, (_, index) => `${prefix}.missing${index}`);
  expect([...(await pool.locate([there, ...missing])).keys()]).toEqual([there]);
  expect(await pool.leaderOf(there)).toBeTypeOf('number');
});

test('topics are handed over in the order of their names, each once, also where some are there', async () => {
  await using pool = openTestPool();
  const names = Array.from({ length: 520 }, (_, index) => `${prefix}.many${index}`);
  await ensureTopics(pool, [names[7] ?? ''], { replicationFactor: 1 });
  const handed: string[] = [];
  for await (const made of makeTopics(pool, names, { replicationFactor: 1 })) {
    handed.push(...made);
    expect(await areLed(pool, made)).toBe(true);
  }
  expect(handed).toEqual([names[7], ...names.filter((_, index) => index !== 7)]);
});

async function configsOf(topic: string): Promise<Record<string, string>> {
  const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
    });
    return Object.fromEntries(resources[0]?.configEntries.map((entry) => [entry.configName, entry.configValue]) ?? []);
  } finally {
    await admin.disconnect();
  }
}
