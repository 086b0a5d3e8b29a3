import { endTxnV3, initProducerIdV4, type Connection } from '@platformatic/kafka';
import { pause } from '#core/backoff.ts';
import type { EpochWriter, ManifestDraft, PartitionRecords, RecordCount, WrittenEntry } from '#core/epoch-writer.ts';
import { RestageError } from '#core/errors.ts';
import type { Failpoints, WriteMoment, WrittenKind } from '#core/failpoints.ts';
import type { Logger } from '#core/log.ts';
import {
  addToTotal,
  MANIFEST_FORMAT,
  totalOf,
  type Manifest,
  type ManifestRange,
  type ManifestTotal,
  type StoredManifest,
} from '#core/manifest.ts';
import { RecordBatchBuilder, type RecordBatch } from '#core/record-batch.ts';
import { NO_HEADERS } from '#core/fixed-headers.ts';
import { countRecords, placeKey, RangeCutter } from '#core/record-counts.ts';
import { epochsTopic, schemasTopic } from '#core/topic-names.ts';
import { addPartitions } from './add-partitions.ts';
import { TRANSACTION_COORDINATOR, type ConnectionPool, type TopicPlace } from './connection-pool.ts';
import { isRetriable, protocolCode } from './kafka-error.ts';
import { lastManifest } from './last-manifest.ts';
import { endOffset, type Place } from './offsets.ts';
import { produceBatches, type SealedBatch } from './produce.ts';

export interface EpochWriterOptions {
  readonly pool: ConnectionPool;
  readonly prefix: string;
  readonly transactionalId: string;
  readonly transactionTimeoutMs: number;
  readonly logger: Logger;
  readonly failpoints: Failpoints;
  /** Where its manifests go. Absent: to the one partition of `<prefix>.epochs`. */
  readonly manifests?: Place;
  /** Whose it is, for the names of its failpoints. */
  readonly service: 'producer' | 'transformer';
}

/** Of requests with data to one broker: it knows a producer's last five batches of a partition (Kafka: KIP-98). */
const MOST_ON_THEIR_WAY = 4;
const PAUSE_MS = 3;
const LONGEST_PAUSE_MS = 200;
const OPEN_PAUSE_MS = 100;
const OPEN_ATTEMPTS = 600;

export function createKafkaEpochWriter(options: EpochWriterOptions): EpochWriter {
  return new KafkaEpochWriter(options);
}

class KafkaEpochWriter implements EpochWriter {
  readonly #options: EpochWriterOptions;
  readonly #manifests: Place;
  readonly #schemas: string;
  /** As of `last`, then of every write. */
  #total = totalOf(null);
  readonly #sequences = new Map<string, number>();
  /** By placeKey: where its next record will stand, behind its last one and the marker of that one's transaction. */
  readonly #ends = new Map<string, bigint>();
  #coordinator = -1;
  #producerId = -1n;
  #producerEpoch = -1;
  #isSpent = false;

  constructor(options: EpochWriterOptions) {
    this.#options = options;
    this.#manifests = options.manifests ?? { topic: epochsTopic(options.prefix), partition: 0 };
    this.#schemas = schemasTopic(options.prefix);
  }

  async open(): Promise<void> {
    const { transactionalId, transactionTimeoutMs, failpoints, service } = this.#options;
    failpoints.hit(`${service}.open.before`);
    await this.#findCoordinator();
    const initial = await this.#untilReady(OPEN_PAUSE_MS, (connection) =>
      initProducerIdV4.api.async(connection, transactionalId, transactionTimeoutMs, -1n, -1),
    );
    this.#producerId = initial.producerId;
    this.#producerEpoch = initial.producerEpoch;
    failpoints.hit(`${service}.open.after`);
  }

  async last(): Promise<StoredManifest | null> {
    const { pool } = this.#options;
    const { topic, partition } = this.#manifests;
    let end = await endOffset(pool, topic, 'read_committed', partition);
    // The marker of what InitProducerId ended may still be on its way.
    while (end < (await endOffset(pool, topic, 'read_uncommitted', partition))) {
      await pause(OPEN_PAUSE_MS);
      end = await endOffset(pool, topic, 'read_committed', partition);
    }
    const last = await lastManifest(pool, this.#manifests, end);
    this.#total = totalOf(last?.manifest ?? null);
    return last;
  }

  async write(
    draft: ManifestDraft,
    data: readonly PartitionRecords[],
    side: readonly PartitionRecords[] = [],
  ): Promise<StoredManifest> {
    const [stored] = await this.#commit([{ draft, counts: countRecords(data) }], data, side);
    if (stored === undefined) throw new RestageError('bug', 'a transaction without its manifest');
    return stored;
  }

  writeAll(
    entries: readonly WrittenEntry[],
    data: readonly PartitionRecords[],
    side: readonly PartitionRecords[] = [],
  ): Promise<StoredManifest[]> {
    return this.#commit(entries, data, side);
  }

  async #commit(
    entries: readonly WrittenEntry[],
    data: readonly PartitionRecords[],
    side: readonly PartitionRecords[],
  ): Promise<StoredManifest[]> {
    if (this.#isSpent) throw new RestageError('kafka_fault', 'this writer met an error before and is spent');
    const hit = (moment: WriteMoment): void => this.#hit(entries, moment);
    hit('before');
    try {
      const all = [...data, ...side];
      const places = await this.#options.pool.locate([...all.map(({ topic }) => topic), this.#manifests.topic]);
      await this.#addPartitions([...all, { ...this.#manifests, batches: [] }]);
      const expected = this.#foresee(data);
      const early = expected === null ? null : this.#manifestsOf(entries, expected);
      const sent = await this.#send(early === null ? all : [...all, this.#recordsOf(early)], places);
      requireExpected(expected ?? new Map(), sent);
      hit('data');
      const made = early ?? this.#manifestsOf(entries, sent);
      const told = early === null ? await this.#send([this.#recordsOf(made)], places) : sent;
      hit('manifest');
      await this.#end();
      const { manifests, total } = made;
      this.#total = total;
      for (const [place, { last }] of sent) this.#ends.set(place, BigInt(last) + 2n);
      hit('after');
      const first = BigInt(told.get(placeKey(this.#manifests))?.first ?? '-1');
      return manifests.map((manifest, index) => ({ offset: first + BigInt(index), manifest }));
    } catch (error) {
      this.#isSpent = true;
      throw error;
    }
  }

  #hit(entries: readonly WrittenEntry[], moment: WriteMoment): void {
    const { failpoints, service } = this.#options;
    for (const { draft } of entries) {
      const kind: WrittenKind = draft.kind === 'stream' && !draft.last ? 'part' : draft.kind;
      failpoints.hit(`${service}.${kind}.${moment}`);
    }
  }

  #manifestsOf(
    entries: readonly WrittenEntry[],
    found: ReadonlyMap<string, ManifestRange>,
  ): { manifests: Manifest[]; total: ManifestTotal } {
    let total = this.#total;
    const cutter = new RangeCutter(found);
    const manifests = entries.map(({ draft, counts, ranges: others = [] }): Manifest => {
      const ranges = [...others, ...cutter.next(counts)];
      total = addToTotal(total, { kind: draft.kind, ranges }, this.#schemas);
      return { ...draft, format: MANIFEST_FORMAT, ranges, total };
    });
    return { manifests, total };
  }

  #recordsOf({ manifests }: { readonly manifests: readonly Manifest[] }): PartitionRecords {
    const builder = new RecordBatchBuilder();
    for (const manifest of manifests) builder.append(manifest.kind, JSON.stringify(manifest), NO_HEADERS);
    return { ...this.#manifests, batches: [builder] };
  }

  /**
   * Where these records will stand, so that manifests can go with them and need not wait for Kafka's answer: nobody else writes to their
   * partitions, and a transaction ends with one marker in each. null where this writer has not written to all of them yet, and with structures,
   * whose topic the lanes of an output share.
   */
  #foresee(data: readonly PartitionRecords[]): ReadonlyMap<string, ManifestRange> | null {
    const expected = new Map<string, ManifestRange>();
    for (const { topic, partition, count } of countRecords(data).filter((one) => one.count > 0)) {
      const place = placeKey({ topic, partition });
      const first = this.#ends.get(place);
      if (first === undefined || topic === this.#schemas) return null;
      expected.set(place, rangeOf({ topic, partition, count }, first));
    }
    return expected;
  }

  close(): Promise<void> {
    this.#isSpent = true;
    return Promise.resolve();
  }

  async #addPartitions(data: readonly PartitionRecords[]): Promise<void> {
    const { transactionalId } = this.#options;
    const transaction = { transactionalId, producerId: this.#producerId, producerEpoch: this.#producerEpoch };
    await this.#untilReady(PAUSE_MS, (connection) => addPartitions(connection, transaction, data));
  }

  /**
   * Batches of one partition go in successive requests, several of which may be on their way: a connection's requests are taken in turn
   * (Kafka: "Protocol Guide", Network). Different partitions share requests.
   */
  async #send(
    data: readonly PartitionRecords[],
    places: ReadonlyMap<string, TopicPlace>,
  ): Promise<ReadonlyMap<string, ManifestRange>> {
    const ranges = new Map<string, ManifestRange>();
    await Promise.all(
      [...roundsByLeader(data, places)].map(([leader, rounds]) => this.#sendRounds(leader, rounds, ranges)),
    );
    return ranges;
  }

  async #sendRounds(leader: number, rounds: readonly Round[], ranges: Map<string, ManifestRange>): Promise<void> {
    const onTheirWay: { round: Round; answer: Promise<ReadonlyMap<string, bigint>> }[] = [];
    const noteFirst = async (): Promise<void> => {
      const first = onTheirWay.shift();
      if (first !== undefined) noteOffsets(first.round, await first.answer, ranges);
    };
    for (const round of rounds) {
      if (onTheirWay.length === MOST_ON_THEIR_WAY) await noteFirst();
      await Promise.all(round.map(({ batch }) => batch.packed()));
      const answer = this.#produce(leader, round);
      // Told where it is awaited, which another's failure may come before.
      answer.catch(() => undefined);
      onTheirWay.push({ round, answer });
    }
    while (onTheirWay.length > 0) await noteFirst();
  }

  #produce(leader: number, round: Round): Promise<ReadonlyMap<string, bigint>> {
    const { pool, transactionalId } = this.#options;
    const sealed = round.map(({ item, batch }): SealedBatch => ({
      topic: item.topic,
      partition: item.partition,
      batch: this.#seal(item, batch),
    }));
    return pool.request(leader, 'write', (connection) => produceBatches(connection, transactionalId, sealed));
  }

  #seal(item: PartitionRecords, batch: RecordBatch): Buffer {
    const key = placeKey(item);
    const sequence = this.#sequences.get(key) ?? 0;
    // Sequence numbers wrap at 2^31 (Kafka: KIP-98).
    this.#sequences.set(key, (sequence + batch.count) % 0x80000000);
    return batch.seal({
      producerId: this.#producerId,
      producerEpoch: this.#producerEpoch,
      baseSequence: sequence,
      timestampMs: Date.now(),
      compress: true,
    });
  }

  async #end(): Promise<void> {
    const { transactionalId } = this.#options;
    await this.#untilReady(PAUSE_MS, (connection) =>
      endTxnV3.api.async(connection, transactionalId, this.#producerId, this.#producerEpoch, true),
    );
  }

  async #findCoordinator(): Promise<void> {
    const { pool, transactionalId } = this.#options;
    this.#coordinator = await pool.coordinator(TRANSACTION_COORDINATOR, transactionalId);
  }

  /** The coordinator is still writing the last transaction's markers: the same request may go again, it holds no data. */
  async #untilReady<T>(pauseMs: number, send: (connection: Connection) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#options.pool.request(this.#coordinator, 'write', send);
      } catch (error) {
        const isConcurrent = protocolCode(error) === 'CONCURRENT_TRANSACTIONS';
        const mayRetry = isConcurrent || (pauseMs === OPEN_PAUSE_MS && isRetriable(error));
        if (!mayRetry || attempt === OPEN_ATTEMPTS) throw error;
        // Of many partitions it takes long, and each question has them all in it.
        await pause(Math.min(pauseMs * 2 ** (attempt - 1), LONGEST_PAUSE_MS));
        if (!isConcurrent) await this.#findCoordinator();
      }
    }
  }
}

/** What one request carries: a batch of each partition. */
type Round = readonly { readonly item: PartitionRecords; readonly batch: RecordBatch }[];

/** @throws RestageError kafka_fault. */
function roundsByLeader(
  data: readonly PartitionRecords[],
  places: ReadonlyMap<string, TopicPlace>,
): ReadonlyMap<number, Round[]> {
  const found = new Map<number, { item: PartitionRecords; batch: RecordBatch }[][]>();
  for (const item of data) {
    const leader = places.get(item.topic)?.leaders[item.partition];
    if (item.batches.length === 0) continue;
    if (leader === undefined)
      throw new RestageError('kafka_fault', 'a topic of this pipeline is not there', {
        where: `topic ${item.topic}, partition ${item.partition}`,
      });
    const rounds = found.get(leader) ?? [];
    found.set(leader, rounds);
    for (const [index, batch] of item.batches.entries()) (rounds[index] ??= []).push({ item, batch });
  }
  return found;
}

/** @throws RestageError kafka_fault: the transaction, whose manifests are wrong, is not committed. */
function requireExpected(expected: ReadonlyMap<string, ManifestRange>, sent: ReadonlyMap<string, ManifestRange>): void {
  for (const [place, { first }] of expected)
    if (sent.get(place)?.first !== first)
      throw new RestageError('kafka_fault', 'another writer wrote to a topic of this pipeline', { where: place });
}

function rangeOf({ topic, partition, count }: RecordCount, first: bigint): ManifestRange {
  return { topic, partition, first: String(first), last: String(first + BigInt(count) - 1n), count };
}

function noteOffsets(round: Round, offsets: ReadonlyMap<string, bigint>, ranges: Map<string, ManifestRange>): void {
  for (const { item, batch } of round) {
    const key = placeKey(item);
    const first = offsets.get(key) ?? -1n;
    if (first < 0n) throw new RestageError('kafka_fault', 'Kafka did not say where it wrote a batch', { where: key });
    const known = ranges.get(key);
    const start = known === undefined ? first : BigInt(known.first);
    const count = batch.count + (known?.count ?? 0);
    const last = first + BigInt(batch.count) - 1n;
    if (last - start + 1n !== BigInt(count))
      throw new RestageError('kafka_fault', 'another writer wrote between two batches of a transaction', {
        where: key,
      });
    ranges.set(key, rangeOf({ topic: item.topic, partition: item.partition, count }, start));
  }
}
