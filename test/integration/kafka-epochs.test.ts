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

async function openWriter(failpoints: Failpoints = NO_FAILPOINTS): Promise<EpochWriter> {
  const writer = createKafkaEpochWriter({
    pool,
    prefix,
    transactionalId: prefix,
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
