import { Kafka, logLevel } from 'kafkajs';
import pino from 'pino';
import { afterAll, describe, expect, it } from 'vitest';
import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { createKafkaEpochWriter } from '#adapters/kafka/epoch-writer.ts';
import { KafkaCodeError } from '#adapters/kafka/kafka-error.ts';
import { readDecidedManifest } from '#adapters/kafka/last-manifest.ts';
import { ensureTopics } from '#adapters/kafka/topics.ts';
import type { EpochWriter, ManifestDraft } from '#core/epoch-writer.ts';
import { NO_FAILPOINTS, type Failpoints } from '#core/failpoints.ts';
import { lsnOf } from '#core/lsn.ts';
import { streamHeaders } from '#core/record.ts';
import { NO_HEADERS } from '#core/fixed-headers.ts';
import { TopicBatches } from '#core/topic-batches.ts';
import { testKafka } from '../harness/servers.ts';

const logger = pino({ level: 'silent' });
const prefix = `epochs-${process.pid}`;
const brokers = testKafka().split(',');
const pool = createConnectionPool(
  { brokers, ssl: false, sasl: null, replicationFactor: 1 },
  { clientId: 'test', logger },
);

afterAll(() => pool.close());

describe('epochs in Kafka', () => {
  it('are read back whole, by our reader and by another client, and a fenced writer adds nothing', async () => {
    await ensureTopics(pool, [`${prefix}.epochs`, `${prefix}.s.a`, `${prefix}.s.b`], { replicationFactor: 1 });
    const first = await openWriter();
    expect(await first.last()).toBeNull();
    await first.write(draft(1), records(1, 5));
    const second = await openWriter();
    await second.last();
    await expect(first.write(draft(2), records(2, 3))).rejects.toMatchObject({ code: 'fenced' });
    await expect(first.write(draft(2), records(2, 3))).rejects.toMatchObject({ code: 'kafka_fault' });
    const stored = await second.write(draft(3), records(3, 2000));
    expect((await second.last())?.offset).toBe(stored.offset);
    // A new writer goes on counting where the one before stopped.
    expect(stored.manifest.total).toEqual({ rows: 0, events: 2005 });
    expect(await createKafkaEpochReader({ pool, prefix, logger }).last()).toEqual(stored);

    await leaveUndecided();
    let decided: number | null = null;
    const reading = readDecidedManifest(pool, prefix, () => false).then((last) => (decided = last?.epoch ?? -1));
    expect(await readDecidedManifest(pool, prefix, (last) => last?.epoch === 3)).toMatchObject({ epoch: 3 });
    expect(decided).toBeNull();
    await openWriter();
    expect(await reading).toBe(3);

    const ours = await readBack(stored.offset);
    expect(ours.epochs).toEqual([1, 3]);
    expect(ours.values).toHaveLength(2005);
    const theirs = await readWithKafkajs([`${prefix}.s.a`, `${prefix}.s.b`], ours.values.length);
    expect(theirs.toSorted()).toEqual(ours.values.toSorted());
  });
});

it('a manifest goes with its records once their places are known, and names them; where another wrote, nothing is committed', async () => {
  const own = `${prefix}-foreseen`;
  const topic = `${own}.s.a`;
  await ensureTopics(pool, [`${own}.epochs`, topic], { replicationFactor: 1 });
  const writer = await openWriter(NO_FAILPOINTS, own);
  await writer.last();
  const row = (value: string): ReturnType<TopicBatches['finish']> => {
    const batches = new TopicBatches();
    batches.append(topic, null, value, NO_HEADERS);
    return batches.finish();
  };
  const first = await writer.write(draft(1), row('1'));
  const second = await writer.write(draft(2), row('2'));
  const third = await writer.write(draft(3), []);
  const fourth = await writer.write(draft(4), row('4'));
  const places = [first, second, third, fourth].map(({ manifest }) => manifest.ranges.map((range) => range.first));
  // A marker stands behind each transaction's record.
  expect(places).toEqual([['0'], ['2'], [], ['4']]);
  expect(await readAll(own, topic)).toEqual(['1', '2', '4']);

  const other = new Kafka({ brokers, logLevel: logLevel.NOTHING }).producer();
  await other.connect();
  await other.send({ topic, messages: [{ value: 'not ours' }] });
  await other.disconnect();
  await expect(writer.write(draft(5), row('5'))).rejects.toMatchObject({ code: 'kafka_fault', where: `${topic}/0` });
  const next = await openWriter(NO_FAILPOINTS, own);
  expect((await next.last())?.manifest.epoch).toBe(4);
  const sixth = await next.write(draft(6), row('6'));
  expect(await readAll(own, topic)).toEqual(['1', '2', '4', '6']);
  expect(sixth.manifest.total).toEqual({ rows: 0, events: 4 });
});

it('after a sign that leaders moved asks anew where topics live', async () => {
  const topic = `${prefix}.moved`;
  await ensureTopics(pool, [topic], { replicationFactor: 1 });
  const leader = await pool.leaderOf(topic);
  const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  await admin.deleteTopics({ topics: [topic] });
  await admin.disconnect();
  expect((await pool.locate([topic])).size).toBe(1);
  const moved = pool.request(leader, 'write', () => Promise.reject(new KafkaCodeError(6, topic)));
  await expect(moved).rejects.toMatchObject({ code: 'kafka_fault' });
  expect((await pool.locate([topic])).size).toBe(0);
});

/** Data and manifest are there, and nobody said whether they count. */
async function leaveUndecided(): Promise<void> {
  const writer = await openWriter({
    hit(name) {
      if (name === 'producer.stream.manifest') throw new Error('it died');
    },
  });
  await expect(writer.write(draft(4), records(4, 3))).rejects.toThrow('it died');
}

async function openWriter(failpoints: Failpoints = NO_FAILPOINTS, of = prefix): Promise<EpochWriter> {
  const writer = createKafkaEpochWriter({
    pool,
    prefix: of,
    transactionalId: of,
    failpoints,
    service: 'producer',
    transactionTimeoutMs: 60_000,
    logger,
  });
  await writer.open();
  return writer;
}

function records(epoch: number, count: number): ReturnType<TopicBatches['finish']> {
  const batches = new TopicBatches();
  for (let ordinal = 1; ordinal <= count; ordinal += 1) {
    const headers = streamHeaders({
      position: { commit: lsnOf(BigInt(epoch)), ordinal },
      xid: 1n,
      epoch,
      structure: 1,
    });
    batches.append(`${prefix}.s.${ordinal % 2 === 0 ? 'a' : 'b'}`, `{"id":${ordinal}}`, `${epoch}/${ordinal}`, headers);
  }
  return batches.finish();
}

function draft(epoch: number): ManifestDraft {
  return {
    incarnation: 'test',
    kind: 'stream',
    epoch,
    part: 1,
    last: true,
    firstCommit: '0/1',
    lastCommit: '0/1',
    lastOrdinal: 1,
    through: '0/2',
    commitTime: '1',
    systemId: 's',
    timeline: 1,
    load: 0,
    control: [],
    plan: null,
  };
}

async function readBack(until: bigint): Promise<{ epochs: number[]; values: string[] }> {
  const reader = createKafkaEpochReader({ pool, prefix, logger });
  const stop = new AbortController();
  const epochs: number[] = [];
  const values: string[] = [];
  for await (const manifests of reader.manifests(0n, stop.signal)) {
    for (const { manifest, offset } of manifests) {
      epochs.push(manifest.epoch);
      for (const range of manifest.ranges) {
        for await (const chunk of reader.read(range, stop.signal))
          values.push(...chunk.map((record) => record.value?.toString() ?? ''));
      }
      if (offset === until) stop.abort();
    }
  }
  return { epochs, values };
}

/** What the manifests of a prefix name on a topic. */
async function readAll(of: string, topic: string): Promise<string[]> {
  const reader = createKafkaEpochReader({ pool, prefix: of, logger });
  const stop = new AbortController();
  const last = (await reader.last())?.offset;
  const values: string[] = [];
  for await (const manifests of reader.manifests(0n, stop.signal)) {
    for (const { manifest, offset } of manifests) {
      for (const range of manifest.ranges.filter((one) => one.topic === topic))
        for await (const chunk of reader.read(range, stop.signal))
          values.push(...chunk.map((record) => record.value?.toString() ?? ''));
      if (offset === last) stop.abort();
    }
  }
  return values;
}

async function readWithKafkajs(topics: string[], count: number): Promise<string[]> {
  const kafka = new Kafka({ brokers, logLevel: logLevel.NOTHING });
  const consumer = kafka.consumer({ groupId: `${prefix}.check`, readUncommitted: false });
  await consumer.connect();
  const values: string[] = [];
  try {
    await consumer.subscribe({ topics, fromBeginning: true });
    await new Promise<void>((resolve, reject) => {
      consumer
        .run({
          eachMessage: async ({ message }) => {
            values.push(message.value?.toString() ?? '');
            if (values.length >= count) resolve();
          },
        })
        .catch(reject);
    });
    return values;
  } finally {
    await consumer.disconnect();
  }
}
