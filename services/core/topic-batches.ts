import { ByteWriters } from '#core/byte-writers.ts';
import type { PartitionRecords, RecordCount } from '#core/epoch-writer.ts';
import { RestageError } from '#core/errors.ts';
import { RecordBatchBuilder } from '#core/record-batch.ts';
import { countRecords, placeKey } from '#core/record-counts.ts';
import { isForPieces, LARGEST_ROW_BYTES, plainValue, splitValue, type RowValue } from '#core/record-pieces.ts';

/** Batches that other threads pack at a time, a MB each. */
const MOST_PACKING = 4;
/** A batch is decoded whole by its readers, and below a broker's default of 1 MiB; one record may be larger. */
const BATCH_BYTES = 1_000_000;
/** Under the topics' max.message.bytes, 64 MiB, with room for the batch's own header. */
const LARGEST_RECORD_BYTES = 60 * 1024 * 1024;

type Bytes = string | Buffer | null;

/** Takes the records of one Kafka transaction, in order in each partition, 0 unless said otherwise; headers are copied at once. */
export interface RecordSink {
  /** About so many were taken. */
  readonly bytes: number;
  append(topic: string, key: Bytes, value: Bytes, headers: Buffer, partition?: number): void;
  appendRow(topic: string, key: Bytes, value: RowValue, headers: Buffer, partition?: number): void;
}

/** Records that may still be given up: they are kept until they are passed on. */
export class PendingRecords implements RecordSink {
  #steps: ((out: RecordSink) => void)[] = [];
  bytes = 0;

  append(topic: string, key: Bytes, value: Bytes, headers: Buffer, partition?: number): void {
    const copy = Buffer.from(headers);
    this.bytes += (key?.length ?? 0) + (value?.length ?? 0);
    this.#steps.push((out) => out.append(topic, key, value, copy, partition));
  }

  appendRow(topic: string, key: Bytes, value: RowValue, headers: Buffer, partition?: number): void {
    const copy = Buffer.from(headers);
    this.bytes += (key?.length ?? 0) + (value?.length ?? 0);
    this.#steps.push((out) => out.appendRow(topic, key, value, copy, partition));
  }

  passTo(out: RecordSink): void {
    for (const step of this.#steps) step(out);
    this.#steps = [];
  }
}

/** The records of one Kafka transaction as they are encoded: per partition, in order. */
export class TopicBatches implements RecordSink {
  /** By topic, then by partition; those without records are missing. */
  readonly #topics = new Map<string, (RecordBatchBuilder[] | undefined)[]>();
  readonly #writers: ByteWriters;
  #bytes = 0;
  #count = 0;
  #packing = 0;
  /** By placeKey, when `takeCounts` was asked last. */
  #counted: ReadonlyMap<string, number> = new Map();

  /** `writers`: those of the transactions before it, where many follow. */
  constructor(writers = new ByteWriters()) {
    this.#writers = writers;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#count;
  }

  /** A row of profile `lossless`: in pieces, where it is larger than a broker takes by default. @throws RestageError record_too_large. */
  appendRow(topic: string, key: Bytes, value: RowValue, headers: Buffer, partition = 0): void {
    if (!isForPieces(value)) return this.append(topic, key, plainValue(value), headers, partition);
    if (value.length > LARGEST_ROW_BYTES) throw tooLarge(topic, key, value.length, LARGEST_ROW_BYTES);
    for (const piece of splitValue(value, headers)) this.append(topic, key, piece.value, piece.headers, partition);
  }

  /** One record. @throws RestageError record_too_large: a row is never skipped. */
  append(topic: string, key: Bytes, value: Bytes, headers: Buffer, partition = 0): void {
    const builder = this.#builderFor(topic, partition, (value?.length ?? 0) + headers.length);
    const before = builder.bytes;
    builder.append(key, value, headers);
    const added = builder.bytes - before;
    if (added > LARGEST_RECORD_BYTES) throw tooLarge(topic, key, added, LARGEST_RECORD_BYTES);
    this.#bytes += added;
    this.#count += 1;
  }

  /** How many records each partition has got since this was asked before. */
  takeCounts(): RecordCount[] {
    const counts = countRecords(this.finish());
    const taken = this.#counted;
    this.#counted = new Map(counts.map((one) => [placeKey(one), one.count]));
    return counts.map((one) => ({ ...one, count: one.count - (taken.get(placeKey(one)) ?? 0) }));
  }

  finish(): PartitionRecords[] {
    return [...this.#topics].flatMap(([topic, partitions]) =>
      partitions.flatMap((batches, partition) => (batches === undefined ? [] : [{ topic, partition, batches }])),
    );
  }

  #builderFor(topic: string, partition: number, bytes: number): RecordBatchBuilder {
    const partitions = this.#topics.get(topic);
    const known = partitions?.[partition];
    const newest = known?.at(-1);
    if (newest !== undefined && newest.bytes + bytes < BATCH_BYTES) return newest;
    if (newest !== undefined) this.#pack(newest);
    const builder = new RecordBatchBuilder(this.#writers);
    if (known !== undefined) known.push(builder);
    else if (partitions !== undefined) partitions[partition] = [builder];
    else {
      const first: (RecordBatchBuilder[] | undefined)[] = [];
      first[partition] = [builder];
      this.#topics.set(topic, first);
    }
    return builder;
  }

  /** On another thread as long as those keep up; one row in many pieces would wait unpacked, whole (invariant 6). */
  #pack(batch: RecordBatchBuilder): void {
    if (this.#packing >= MOST_PACKING) return batch.pack();
    this.#packing += 1;
    const ended = (): void => void (this.#packing -= 1);
    // A failure is told to whoever sends it; an epoch that is given up asks nobody.
    batch.packed().then(ended, ended);
  }
}

function tooLarge(topic: string, key: string | Buffer | null, bytes: number, most: number): RestageError {
  return new RestageError(
    'record_too_large',
    `a row takes ${bytes} bytes, and a record of this pipeline up to ${most}`,
    {
      where: `topic ${topic}, key ${key === null ? 'none' : key.toString().slice(0, 200)}`,
      fix: 'leave the table out of source.tables, or make its values smaller',
    },
  );
}
