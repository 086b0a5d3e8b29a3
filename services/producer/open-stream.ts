import type pg from 'pg';
import { ReplicationStream } from '#adapters/postgres/source/replication-stream.ts';
import { BoundedQueue } from '#core/bounded-queue.ts';
import { hasDebezium } from '#core/config.ts';
import type { Lsn } from '#core/lsn.ts';
import { Notifier } from '#core/notifier.ts';
import { keyPartitioner } from '#core/partitioner.ts';
import { CapturePolicy } from '#core/rules/capture-policy.ts';
import { isChosen } from '#core/table-patterns.ts';
import { schemasTopic } from '#core/topic-names.ts';
import type { BegunCapture } from './begun-capture.ts';
import { ChangeAssembler } from './change-assembler.ts';
import type { Closers } from './closers.ts';
import { DebeziumStream } from './debezium-stream.ts';
import type { FoundHistory } from './found-history.ts';
import { requireHeldSlot } from './held-slot.ts';
import { LateLoads } from './late-loads.ts';
import { weightOf, type LoadItem } from './load-item.ts';
import type { ProducerParts } from './producer-parts.ts';
import { LOAD_PARTS, Publisher } from './publisher.ts';
import { RelationBook } from './relation-book.ts';
import type { RewriteMark } from './rewrites.ts';
import { StreamEpochs, type StreamPart } from './stream-epochs.ts';
import { openTableNames } from './table-names.ts';

/** The slot's stream, and what stands between it, the load and Kafka. */
export interface OpenStream {
  readonly stream: ReplicationStream;
  readonly book: RelationBook;
  readonly assembler: ChangeAssembler;
  readonly epochs: StreamEpochs;
  readonly parts: BoundedQueue<StreamPart | RewriteMark>;
  readonly load: BoundedQueue<LoadItem>;
  readonly late: LateLoads;
  /** Wakes the publisher. */
  readonly notifier: Notifier;
  readonly publisher: Publisher;
}

const PARTS_WAITING = 2;
const LOAD_ITEMS_WAITING = 4;

export async function openStream(
  parts: ProducerParts,
  history: FoundHistory,
  capture: BegunCapture,
  closers: Closers,
  signal: AbortSignal,
): Promise<OpenStream> {
  const { config } = parts;
  const { client, replication, manifests } = history;
  const notifier = new Notifier();
  const late = new LateLoads(
    () => notifier.notify(),
    () => manifests.floors,
  );
  const coverOf = (topic: string, commit: Lsn): ReturnType<LateLoads['coverOf']> => late.coverOf(topic, commit, signal);
  const book = openBook(parts, history, capture, coverOf);
  const epochs = new StreamEpochs(manifests.resume(), keyPartitioner(config.kafka.partitions ?? 1));
  const queues = openQueues(parts, notifier);
  const { slot, publication } = config.source;
  const stream = new ReplicationStream(replication, slot, publication, manifests.through);
  closers.add(() => stream.close());
  await requireHeldSlot(client, slot, stream, manifests.last, signal);
  const assembler = await openAssembler(parts, history, capture, { book, epochs });
  const publisher = openPublisher(parts, history, capture, { epochs, late, notifier, stream, ...queues });
  return { stream, book, assembler, epochs, late, notifier, publisher, ...queues };
}

function openBook(
  parts: ProducerParts,
  { client, identity, written }: FoundHistory,
  { chosen, debezium, partitions, isDdlTold, newTables }: BegunCapture,
  coverOf: (topic: string, commit: Lsn) => ReturnType<LateLoads['coverOf']>,
): RelationBook {
  const { config, version } = parts;
  return new RelationBook({
    client,
    prefix: config.name,
    database: identity.database,
    version,
    publication: config.source.publication,
    chosen,
    written,
    onUnknown: (table) => {
      if (isChosen(table, config.source.tables)) newTables.hurry();
    },
    debezium: debezium?.source ?? null,
    partitions,
    isDdlTold,
    hasFacts: hasDebezium(config),
    policy: new CapturePolicy(config),
    names: openTableNames(parts, client, written, coverOf),
    coverOf,
  });
}

function openQueues({ config }: ProducerParts, notifier: Notifier): Pick<OpenStream, 'parts' | 'load'> {
  const { partBytes } = config.epoch;
  return {
    parts: new BoundedQueue<StreamPart | RewriteMark>(
      PARTS_WAITING,
      () => notifier.notify(),
      // A row may be many times as large as a part.
      (item) => ('bytes' in item ? Math.max(1, Math.floor(item.bytes / partBytes)) : 1),
    ),
    load: new BoundedQueue<LoadItem>(
      LOAD_ITEMS_WAITING,
      () => notifier.notify(),
      (item) => weightOf(item, partBytes / LOAD_PARTS),
    ),
  };
}

async function openAssembler(
  { config, status, clock }: ProducerParts,
  { client, identity, written }: FoundHistory,
  { debezium, loaded }: BegunCapture,
  { book, epochs }: Pick<OpenStream, 'book' | 'epochs'>,
): Promise<ChangeAssembler> {
  const { database } = identity;
  return new ChangeAssembler({
    book,
    epochs,
    schemasTopic: schemasTopic(config.name),
    written,
    recentXid: await recentXid(client),
    status,
    clock,
    debezium: debezium === null ? null : new DebeziumStream({ ...debezium, database, epochs, loaded, status, clock }),
  });
}

function openPublisher(
  { config, writer, status, clock, failpoints }: ProducerParts,
  { manifests }: FoundHistory,
  { debezium }: BegunCapture,
  { stream, ...open }: Pick<OpenStream, 'epochs' | 'parts' | 'load' | 'late' | 'notifier' | 'stream'>,
): Publisher {
  return new Publisher({
    writer,
    book: manifests,
    ...open,
    limits: config.epoch,
    heartbeatMs: config.source.heartbeatMs,
    confirm: (through) => {
      failpoints.hit('producer.confirm.before');
      stream.confirm(through);
      failpoints.hit('producer.confirm.after');
    },
    status,
    clock,
    debezium: debezium?.heartbeat ?? null,
  });
}

async function recentXid(client: pg.Client): Promise<bigint> {
  const [row] = (await client.query<{ xmax: string }>('SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS xmax'))
    .rows;
  return BigInt(row?.xmax ?? '0');
}
