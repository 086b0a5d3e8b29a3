import { endTxnV3, initProducerIdV4, type Connection } from '@platformatic/kafka';
import { pino } from 'pino';
import { addPartitions } from '#adapters/kafka/add-partitions.ts';
import { createConnectionPool, TRANSACTION_COORDINATOR, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { protocolCode } from '#adapters/kafka/kafka-error.ts';
import { endOffset } from '#adapters/kafka/offsets.ts';
import { fetchBatches } from '#adapters/kafka/partition-reader.ts';
import { produceBatches } from '#adapters/kafka/produce.ts';
import { readTopicFacts, type TopicFacts } from '#adapters/kafka/topic-facts.ts';
import { ensureTopics } from '#adapters/kafka/topics.ts';
import { pause } from '#core/backoff.ts';
import { findGround, groundRecord } from '#core/ground.ts';
import { RecordBatchBuilder, type RecordBatch } from '#core/record-batch.ts';
import { encodeHeaders } from '#core/fixed-headers.ts';

/** A record of a topic with one partition; bytes in base64. */
export interface KeptRecord {
  readonly topic: string;
  readonly offset: string;
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: Readonly<Record<string, string>>;
}

/** Records that were written together: of one Kafka transaction, or one alone outside any. */
export interface KeptWrite {
  readonly end: 'commit' | 'abort' | null;
  /** That took part in it, perhaps without a record. */
  readonly topics: readonly string[];
  readonly records: readonly KeptRecord[];
}

export interface KeptTopics {
  readonly topics: readonly { readonly name: string; readonly compacted: boolean }[];
  /** In an order that keeps each topic's. */
  readonly writes: readonly KeptWrite[];
}

interface Entry {
  readonly records: readonly KeptRecord[];
  /** Names its Kafka transaction among all; null outside any. */
  readonly transaction: string | null;
  readonly end: 'commit' | 'abort' | null;
}

const COMMIT = 1;

/** All that these topics hold, aborted transactions too. A transaction that is open counts as aborted: whoever wrote it is dead. */
export async function keepTopics(brokers: string, topics: KeptTopics['topics']): Promise<KeptTopics> {
  const pool = createConnectionPool(
    { brokers: [brokers], ssl: false, sasl: null, replicationFactor: 1 },
    { clientId: 'keep', logger: pino({ level: 'silent' }) },
  );
  try {
    const logs = new Map<string, Entry[]>();
    for (const { name } of topics) logs.set(name, await readLog(pool, name));
    return { topics, writes: order(logs) };
  } finally {
    await pool.close();
  }
}

async function readLog(pool: ConnectionPool, topic: string): Promise<Entry[]> {
  const end = await endOffset(pool, topic, 'read_uncommitted');
  const entries: Entry[] = [];
  const count = new Map<bigint, number>();
  const query = { topic, partition: 0, isolation: 'read_uncommitted', channel: 'control', maxWaitMs: 100 } as const;
  for (let offset = 0n; offset < end;) {
    const { batches } = await fetchBatches(pool, query, offset);
    for (const batch of batches) {
      offset = batch.lastOffset + 1n;
      const transaction = batch.isTransactional ? `${batch.producerId}/${count.get(batch.producerId) ?? 0}` : null;
      const records = batch.records();
      if (batch.isControl) {
        count.set(batch.producerId, (count.get(batch.producerId) ?? 0) + 1);
        const isCommit = records[0]?.key?.readInt16BE(2) === COMMIT;
        entries.push({ records: [], transaction, end: isCommit ? 'commit' : 'abort' });
        continue;
      }
      const kept = records.map((record) => ({
        topic,
        offset: String(record.offset),
        key: record.key?.toString('base64') ?? null,
        value: record.value?.toString('base64') ?? null,
        headers: Object.fromEntries([...record.headers].map(([name, value]) => [name, value.toString('base64')])),
      }));
      entries.push({ records: kept, transaction, end: null });
    }
  }
  return entries;
}

/** Takes what stands first everywhere it stands, until nothing is left. */
function order(logs: ReadonlyMap<string, Entry[]>): KeptWrite[] {
  const writes: KeptWrite[] = [];
  while ([...logs.values()].some((log) => log.length > 0)) {
    const first = [...logs]
      .flatMap(([topic, log]) => log.slice(0, 1).map((entry) => ({ topic, log, entry })))
      .find(({ entry }) => isNext(entry, logs));
    if (first === undefined) throw new Error('transactions cross each other');
    const { transaction, records } = first.entry;
    if (transaction === null) {
      first.log.shift();
      writes.push({ end: null, topics: [first.topic], records });
    } else {
      writes.push(takeTransaction(transaction, logs));
    }
  }
  return writes;
}

function takeTransaction(transaction: string, logs: ReadonlyMap<string, Entry[]>): KeptWrite {
  const topics: string[] = [];
  const records: KeptRecord[] = [];
  let end: KeptWrite['end'] = 'abort';
  for (const [topic, log] of logs) {
    if (log[0]?.transaction === transaction) topics.push(topic);
    while (log[0]?.transaction === transaction) {
      const entry = log.shift();
      records.push(...(entry?.records ?? []));
      end = entry?.end ?? end;
    }
  }
  return { end, topics, records };
}

/** Whether nothing of its transaction stands behind something else. */
function isNext({ transaction }: Entry, logs: ReadonlyMap<string, Entry[]>): boolean {
  if (transaction === null) return true;
  return [...logs.values()].every((log) => log.findIndex((entry) => entry.transaction === transaction) <= 0);
}

/**
 * Makes the topics again, each record at its offset (a commit's or an abort's marker takes one as well). Of what the pipeline stands on, Kafka's
 * own names are those of this Kafka. @throws Error when a record comes to another offset.
 */
export async function restoreTopics({ topics, writes }: KeptTopics, pool: ConnectionPool): Promise<void> {
  const named = (compacted: boolean): string[] =>
    topics.filter((topic) => topic.compacted === compacted).map(({ name }) => name);
  await ensureTopics(pool, named(false), { replicationFactor: 1 });
  await ensureTopics(pool, named(true), { replicationFactor: 1, compacted: true });
  const facts = await readTopicFacts(pool, [...named(false), ...named(true)]);
  const writer = new RestoringWriter(pool);
  await writer.open();
  for (const write of writes) {
    if (write.end !== null) await writer.begin(write.topics);
    for (const run of runs(write.records)) {
      const batch = new RecordBatchBuilder();
      for (const record of run) append(batch, record, facts);
      const topic = run[0]?.topic ?? '';
      const offset = await writer.send(topic, batch, write.end !== null);
      if (String(offset) !== run[0]?.offset) throw new Error(`${topic}: offset ${run[0]?.offset} became ${offset}`);
    }
    if (write.end !== null) await writer.end(write.end === 'commit');
  }
}

/** Kafka transactions as they were: with partitions to which nothing was written, too. */
class RestoringWriter {
  readonly #id = `restore-${process.pid}-${Date.now()}`;
  readonly #pool: ConnectionPool;
  readonly #sequences = new Map<string, number>();
  #coordinator = -1;
  #producer = { producerId: -1n, producerEpoch: -1 };

  constructor(pool: ConnectionPool) {
    this.#pool = pool;
  }

  async open(): Promise<void> {
    this.#coordinator = await this.#pool.coordinator(TRANSACTION_COORDINATOR, this.#id);
    this.#producer = await this.#ask((connection) => initProducerIdV4.api.async(connection, this.#id, 60_000, -1n, -1));
  }

  async begin(topics: readonly string[]): Promise<void> {
    const places = topics.map((topic) => ({ topic, partition: 0 }));
    await this.#ask((connection) =>
      addPartitions(connection, { transactionalId: this.#id, ...this.#producer }, places),
    );
  }

  async end(isCommit: boolean): Promise<void> {
    const { producerId, producerEpoch } = this.#producer;
    await this.#ask((connection) => endTxnV3.api.async(connection, this.#id, producerId, producerEpoch, isCommit));
  }

  /** Where its first record stands. */
  async send(topic: string, records: RecordBatch, transactional: boolean): Promise<bigint> {
    const sequence = this.#sequences.get(topic) ?? 0;
    if (transactional) this.#sequences.set(topic, sequence + records.count);
    const { producerId, producerEpoch } = transactional ? this.#producer : { producerId: -1n, producerEpoch: -1 };
    const baseSequence = transactional ? sequence : -1;
    const stamp = { producerId, producerEpoch, baseSequence, timestampMs: Date.now(), compress: true, transactional };
    const batch = records.seal(stamp);
    const offsets = await this.#pool.request(await this.#pool.leaderOf(topic), 'write', (connection) =>
      produceBatches(connection, transactional ? this.#id : null, [{ topic, partition: 0, batch }]),
    );
    return offsets.get(`${topic}/0`) ?? -1n;
  }

  /** Until the markers of the transaction before are written. */
  async #ask<T>(send: (connection: Connection) => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await this.#pool.request(this.#coordinator, 'write', send);
      } catch (error) {
        if (protocolCode(error) !== 'CONCURRENT_TRANSACTIONS') throw error;
        await pause(5);
      }
    }
  }
}

/** Records of one topic that follow each other. */
function runs(records: readonly KeptRecord[]): KeptRecord[][] {
  const all: KeptRecord[][] = [];
  for (const record of records) {
    const last = all.at(-1);
    if (last?.[0]?.topic === record.topic) last.push(record);
    else all.push([record]);
  }
  return all;
}

function append(batch: RecordBatchBuilder, record: KeptRecord, facts: TopicFacts): void {
  const [key, value] = [decode(record.key), decode(record.value)];
  const headers = Object.entries(record.headers).map(([name, text]) => [name, Buffer.from(text, 'base64')] as const);
  const ground = key === null || value === null ? null : findGround(new Map([[key.toString(), value]]));
  if (ground === null) {
    batch.append(key, value, encodeHeaders(headers));
    return;
  }
  const ids = Object.fromEntries(Object.keys(ground.topics).map((name) => [name, facts.ids[name] ?? '']));
  const here = groundRecord({ ...ground, cluster: facts.cluster, topics: ids });
  batch.append(here.key, here.value, encodeHeaders(headers));
}

function decode(text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text, 'base64');
}
