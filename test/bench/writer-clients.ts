import { Kafka, logLevel, type Transaction } from 'kafkajs';
import { pino } from 'pino';
import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createKafkaEpochWriter } from '#adapters/kafka/epoch-writer.ts';
import { ensureTopics } from '#adapters/kafka/topics.ts';
import { NO_FAILPOINTS } from '#core/failpoints.ts';
import { LSN_ZERO, formatLsn } from '#core/lsn.ts';
import type { ManifestDraft } from '#core/epoch-writer.ts';
import { encodeHeaders } from '#core/fixed-headers.ts';
import { TopicBatches } from '#core/topic-batches.ts';
import { Infrastructure } from '#infra/infrastructure.ts';

/*
 * Which client carries the writer's path: epochs of so many events of 300 bytes and a manifest, one Kafka transaction each.
 *   node --import tsx test/bench/writer-clients.ts
 */

const SIZES = [10, 1_000, 10_000] as const;
const ROUNDS = 15;
const VALUE = JSON.stringify({ before: null, after: { id: 1, filler: 'x'.repeat(265) }, op: 'c' });
const NO_HEADERS = encodeHeaders([]);

/** Writes one epoch; resolves when it is committed. */
type WriteEpoch = (events: number) => Promise<void>;

const infrastructure = await Infrastructure.open({ say: (line) => process.stderr.write(`${line}\n`) });
try {
  const { brokers } = await infrastructure.startKafka();
  const ours = await openOurs(brokers);
  const theirs = await openKafkajs(brokers);
  process.stdout.write('events per transaction | ours, ms (median) | events/s | kafkajs, ms (median) | events/s\n');
  for (const events of SIZES) {
    const [a, b] = [await median(ours.write, events), await median(theirs.write, events)];
    process.stdout.write(`${events} | ${describe(a, events)} | ${describe(b, events)}\n`);
  }
  await ours.close();
  await theirs.close();
} finally {
  await infrastructure.stop();
}

function describe(ms: number, events: number): string {
  return `${ms.toFixed(1)} | ${Math.round((events * 1_000) / ms)}`;
}

async function median(write: WriteEpoch, events: number): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS + 3; round += 1) {
    const startedAt = performance.now();
    await write(events);
    if (round >= 3) times.push(performance.now() - startedAt);
  }
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? NaN;
}

async function openOurs(brokers: string): Promise<{ write: WriteEpoch; close: () => Promise<void> }> {
  const logger = pino({ level: 'silent' });
  const kafka = { brokers: brokers.split(','), ssl: false, sasl: null, replicationFactor: 1 };
  const pool = createConnectionPool(kafka, { clientId: 'bench', logger });
  await ensureTopics(pool, ['ours.epochs', 'ours.data'], { replicationFactor: 1 });
  const writer = createKafkaEpochWriter({
    pool,
    prefix: 'ours',
    transactionalId: 'ours',
    failpoints: NO_FAILPOINTS,
    service: 'producer',
    transactionTimeoutMs: 60_000,
    logger,
  });
  await writer.open();
  return {
    async write(events) {
      const batches = new TopicBatches();
      for (let index = 0; index < events; index += 1) batches.append('ours.data', String(index), VALUE, NO_HEADERS);
      await writer.write(draft(), batches.finish());
    },
    async close() {
      await writer.close();
      await pool.close();
    },
  };
}

async function openKafkajs(brokers: string): Promise<{ write: WriteEpoch; close: () => Promise<void> }> {
  const kafka = new Kafka({
    brokers: brokers.split(','),
    logLevel: logLevel.NOTHING,
    // Right after a commit the coordinator answers CONCURRENT_TRANSACTIONS; by default it would wait 300 ms then.
    retry: { initialRetryTime: 3 },
  });
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: 'theirs.data' }, { topic: 'theirs.epochs' }] });
  await admin.disconnect();
  const producer = kafka.producer({ transactionalId: 'theirs', maxInFlightRequests: 1, idempotent: true });
  await producer.connect();
  return {
    async write(events) {
      const transaction: Transaction = await producer.transaction();
      const messages = Array.from({ length: events }, (_, index) => ({ key: String(index), value: VALUE }));
      await transaction.send({ topic: 'theirs.data', acks: -1, messages });
      await transaction.send({ topic: 'theirs.epochs', acks: -1, messages: [{ value: JSON.stringify(draft()) }] });
      await transaction.commit();
    },
    close: () => producer.disconnect(),
  };
}

function draft(): ManifestDraft {
  const zero = formatLsn(LSN_ZERO);
  return {
    incarnation: 'bench',
    kind: 'stream',
    epoch: 1,
    part: 1,
    last: true,
    firstCommit: zero,
    lastCommit: zero,
    lastOrdinal: 1,
    through: zero,
    commitTime: null,
    systemId: '1',
    timeline: 1,
    load: 1,
    control: [],
    plan: '0',
  };
}
