import { Kafka, logLevel, type Consumer, type KafkaMessage } from 'kafkajs';
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { parseLsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import { until } from '../until.ts';
import type { SeenEvent, SeenManifest, SeenTransaction } from './oracles.ts';

/** All that an independent reader finds of one set of topics. */
export interface SeenTopics {
  readonly manifests: readonly SeenManifest[];
  /** Per data topic, in the order of offsets. */
  readonly events: ReadonlyMap<string, readonly SeenEvent[]>;
  /** What its snapshots have of the stream, by topic. */
  readonly snapshots: ReadonlyMap<string, readonly SeenSpan[]>;
  /** Where the stream begins. */
  readonly origin: bigint;
}

/** Of transactions: from an announcement (or the pipeline's birth) to the snapshot that came of it. */
export interface SeenSpan {
  readonly from: bigint;
  readonly to: bigint;
}

const READ_LIMIT_MS = 60_000;

/** Reads `prefix`'s manifests and what they name with kafkajs, read_committed, until one says that it is past `lsn`. */
export async function readTopics(brokers: string, prefix: string, lsn: bigint): Promise<SeenTopics> {
  const kafka = new Kafka({ brokers: brokers.split(','), logLevel: logLevel.NOTHING });
  const topics = await dataTopics(kafka, prefix);
  const epochs = `${prefix}.epochs`;
  const messages = new Map<string, Map<number, KafkaMessage>>([epochs, ...topics].map((topic) => [topic, new Map()]));
  const consumer = kafka.consumer({ groupId: `evidence-${randomUUID()}` });
  await consumer.connect();
  try {
    await consumer.subscribe({ topics: [epochs, ...topics], fromBeginning: true });
    await runInto(consumer, messages);
    await until(() => isComplete(messages, epochs, lsn), {
      what: `${prefix}: all that manifests name up to ${lsn.toString(16)}`,
      timeoutMs: READ_LIMIT_MS,
    });
  } finally {
    await consumer.disconnect();
  }
  return summarise(messages, epochs);
}

async function dataTopics(kafka: Kafka, prefix: string): Promise<string[]> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const all = await admin.listTopics();
    return all.filter((topic) => topic.startsWith(`${prefix}.public.`) || topic === `${prefix}.schemas`);
  } finally {
    await admin.disconnect();
  }
}

async function runInto(consumer: Consumer, messages: Map<string, Map<number, KafkaMessage>>): Promise<void> {
  await consumer.run({
    eachBatch: async ({ batch }) => {
      for (const message of batch.messages) messages.get(batch.topic)?.set(Number(message.offset), message);
    },
  });
}

function isComplete(
  messages: ReadonlyMap<string, ReadonlyMap<number, KafkaMessage>>,
  epochs: string,
  lsn: bigint,
): boolean {
  const manifests = [...(messages.get(epochs)?.values() ?? [])].map(parse);
  const last = manifests.at(-1);
  if (last === undefined || !last.last || parseLsn(last.through) < lsn) return false;
  return manifests.every(({ ranges }) =>
    ranges.every(({ topic, last: end }) => messages.get(topic)?.has(Number(end)) === true),
  );
}

function summarise(messages: ReadonlyMap<string, ReadonlyMap<number, KafkaMessage>>, epochs: string): SeenTopics {
  const parsed = [...(messages.get(epochs) ?? [])].map(([offset, message]) => ({ offset, manifest: parse(message) }));
  const snapshots = new Map<string, readonly SeenSpan[]>();
  let origin = 0n;
  let from = 0n;
  for (const { manifest } of parsed) {
    if (manifest.kind === 'origin') origin = parseLsn(manifest.through);
    if (manifest.kind === 'announce') from = parseLsn(manifest.through);
    if (manifest.kind !== 'tableEnd' || manifest.table === undefined || manifest.snapshot === undefined) continue;
    const { topic } = manifest.table;
    const span = { from, to: parseLsn(manifest.snapshot) };
    snapshots.set(topic, [...(snapshots.get(topic) ?? []).filter((one) => one.from !== span.from), span]);
  }
  const manifests = parsed.map(({ offset, manifest }): SeenManifest => ({
    offset,
    kind: manifest.kind,
    epoch: manifest.epoch,
    part: manifest.part,
    last: manifest.last,
    through: parseLsn(manifest.through),
    ranges: manifest.ranges.map(({ topic, first, last }) => ({ topic, first: Number(first), last: Number(last) })),
  }));
  const events = new Map(
    [...messages]
      .filter(([topic]) => topic !== epochs)
      .map(([topic, list]) => [topic, [...list].map(([offset, message]) => toEvent(topic, offset, message))] as const),
  );
  return { manifests, events, snapshots, origin };
}

function parse(message: KafkaMessage): Manifest {
  return JSON.parse(message.value?.toString('utf8') ?? 'null') as Manifest;
}

function toEvent(topic: string, offset: number, message: KafkaMessage): SeenEvent {
  const pos = message.headers?.['pos'];
  const bytes = Buffer.isBuffer(pos) ? pos : null;
  const value = message.value === null ? null : (JSON.parse(message.value.toString('utf8')) as { op?: string });
  return {
    topic,
    offset,
    commit: bytes === null ? null : bytes.readBigUInt64BE(0),
    ordinal: bytes === null ? 0 : Number(bytes.readBigUInt64BE(8)),
    key: message.key?.toString('utf8') ?? null,
    isTombstone: message.value === null,
    op: value?.op ?? '',
  };
}

/** A second slot, made before the pipeline: what the server itself says was committed. */
export async function makeWitness(client: pg.Client, slot: string): Promise<void> {
  await client.query(`SELECT pg_create_logical_replication_slot($1, 'test_decoding')`, [slot]);
}

export interface WitnessedTransaction extends SeenTransaction {
  /** LSN after its commit record. */
  readonly end: bigint;
}

const OPS: Readonly<Record<string, string>> = { INSERT: 'c', UPDATE: 'u', DELETE: 'd' };

/** Transactions with row changes in `public`, in the order of their commits. The slot keeps them. */
export async function readWitness(client: pg.Client, slot: string): Promise<WitnessedTransaction[]> {
  const { rows } = await client.query<{ lsn: string; data: string }>(
    `SELECT lsn::text AS lsn, left(data, 200) AS data FROM pg_logical_slot_peek_changes($1, NULL, NULL, 'skip-empty-xacts', '1')`,
    [slot],
  );
  const transactions: WitnessedTransaction[] = [];
  let changes: string[] = [];
  for (const { lsn, data } of rows) {
    const change = /^table public\.(\w+): (INSERT|UPDATE|DELETE):/.exec(data);
    if (change !== null) changes.push(`${change[1]} ${OPS[change[2] ?? '']}`);
    if (!data.startsWith('COMMIT')) continue;
    if (changes.length > 0) transactions.push({ name: data, end: parseLsn(lsn), changes });
    changes = [];
  }
  return transactions;
}
