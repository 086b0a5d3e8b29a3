import { addPartitionsToTxnV3, endTxnV3, initProducerIdV4, type Connection } from '@platformatic/kafka';
import { pause } from '#core/backoff.ts';
import type { EpochWriter, ManifestDraft, PartitionRecords, WrittenEntry } from '#core/epoch-writer.ts';
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
import { encodeHeaders } from '#core/record.ts';
import { countRecords, placeKey, RangeCutter } from '#core/record-counts.ts';
import { epochsTopic, schemasTopic } from '#core/topic-names.ts';
import { TRANSACTION_COORDINATOR, type ConnectionPool } from './connection-pool.ts';
import { isRetriable, protocolCode } from './kafka-error.ts';
import { lastManifest } from './last-manifest.ts';
import { endOffset } from './offsets.ts';
import { produceBatches, type SealedBatch } from './produce.ts';

export interface EpochWriterOptions {
  readonly pool: ConnectionPool;
  readonly prefix: string;
  readonly transactionalId: string;
  readonly transactionTimeoutMs: number;
  readonly logger: Logger;
  readonly failpoints: Failpoints;
  /** Whose it is, for the names of its failpoints. */
  readonly service: 'producer' | 'transformer';
}

const PAUSE_MS = 3;
const OPEN_PAUSE_MS = 100;
const OPEN_ATTEMPTS = 600;
const NO_HEADERS = encodeHeaders([]);

export function createKafkaEpochWriter(options: EpochWriterOptions): EpochWriter {
  return new KafkaEpochWriter(options);
}

class KafkaEpochWriter implements EpochWriter {
  readonly #options: EpochWriterOptions;
  readonly #epochs: string;
  readonly #schemas: string;
  /** As of `last`, then of every write. */
  #total = totalOf(null);
  readonly #sequences = new Map<string, number>();
  #coordinator = -1;
  #producerId = -1n;
  #producerEpoch = -1;
  #isSpent = false;

  constructor(options: EpochWriterOptions) {
    this.#options = options;
    this.#epochs = epochsTopic(options.prefix);
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
    let end = await endOffset(pool, this.#epochs, 'read_committed');
    // The marker of what InitProducerId ended may still be on its way.
    while (end < (await endOffset(pool, this.#epochs, 'read_uncommitted'))) {
      await pause(OPEN_PAUSE_MS);
      end = await endOffset(pool, this.#epochs, 'read_committed');
    }
    const last = await lastManifest(pool, this.#epochs, end);
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
      const places = await this.#options.pool.locate([...all.map(({ topic }) => topic), this.#epochs]);
      await this.#addPartitions([...all, { topic: this.#epochs, partition: 0, batches: [] }]);
      const ranges = await this.#send(all, places);
      hit('data');
      const { manifests, total } = this.#manifestsOf(entries, ranges);
      const builder = new RecordBatchBuilder(4096);
      for (const manifest of manifests) builder.append(manifest.kind, JSON.stringify(manifest), NO_HEADERS);
      const sent = await this.#send([{ topic: this.#epochs, partition: 0, batches: [builder] }], places);
      hit('manifest');
      await this.#end();
      this.#total = total;
      hit('after');
      const first = BigInt(sent.get(placeKey({ topic: this.#epochs, partition: 0 }))?.first ?? '-1');
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
    const manifests = entries.map(({ draft, counts }): Manifest => {
      const ranges = cutter.next(counts);
      total = addToTotal(total, { kind: draft.kind, ranges }, this.#schemas);
      return { ...draft, format: MANIFEST_FORMAT, ranges, total };
    });
    return { manifests, total };
  }

  close(): Promise<void> {
    this.#isSpent = true;
    return Promise.resolve();
  }

  async #addPartitions(data: readonly PartitionRecords[]): Promise<void> {
    const topics = data.map(({ topic, partition }) => ({ name: topic, partitions: [partition] }));
    const { transactionalId } = this.#options;
    const [producerId, producerEpoch] = [this.#producerId, this.#producerEpoch];
    await this.#untilReady(PAUSE_MS, (connection) =>
      addPartitionsToTxnV3.api.async(connection, [
        { transactionalId, producerId, producerEpoch, verifyOnly: false, topics },
      ]),
    );
  }

  /** Batches of one partition go in successive requests, each awaited; different partitions share requests. */
  async #send(
    data: readonly PartitionRecords[],
    places: ReadonlyMap<string, { readonly leader: number }>,
  ): Promise<ReadonlyMap<string, ManifestRange>> {
    const ranges = new Map<string, ManifestRange>();
    const rounds = Math.max(0, ...data.map(({ batches }) => batches.length));
    for (let round = 0; round < rounds; round += 1) {
      const byLeader = new Map<number, { item: PartitionRecords; batch: RecordBatch }[]>();
      for (const item of data) {
        const batch = item.batches[round];
        const leader = places.get(item.topic)?.leader;
        if (batch === undefined) continue;
        if (leader === undefined)
          throw new RestageError('kafka_fault', 'a topic of this pipeline is not there', {
            where: `topic ${item.topic}`,
          });
        const list = byLeader.get(leader);
        if (list === undefined) byLeader.set(leader, [{ item, batch }]);
        else list.push({ item, batch });
      }
      await Promise.all([...byLeader].map(([leader, list]) => this.#produce(leader, list, ranges)));
    }
    return ranges;
  }

  async #produce(
    leader: number,
    list: readonly { item: PartitionRecords; batch: RecordBatch }[],
    ranges: Map<string, ManifestRange>,
  ): Promise<void> {
    const { pool, transactionalId } = this.#options;
    await Promise.all(list.map(({ batch }) => batch.packed()));
    const sealed = list.map(({ item, batch }): SealedBatch => ({
      topic: item.topic,
      partition: item.partition,
      batch: this.#seal(item, batch),
    }));
    const offsets = await pool.request(leader, 'write', (connection) =>
      produceBatches(connection, transactionalId, sealed),
    );
    for (const { item, batch } of list) {
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
      ranges.set(key, {
        topic: item.topic,
        partition: item.partition,
        first: String(start),
        last: String(last),
        count,
      });
    }
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
        await pause(pauseMs);
        if (!isConcurrent) await this.#findCoordinator();
      }
    }
  }
}
