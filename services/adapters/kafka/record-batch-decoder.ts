import { gunzipSync } from 'node:zlib';
import { RestageError } from '#core/errors.ts';
import { ChunkHeaders, StreamHeaders, type ByteRange, type KafkaRecord } from '#core/record.ts';

/** A batch's header (Kafka: "Message Format", Record Batch); records are decoded on demand. */
export interface DecodedBatch {
  readonly baseOffset: bigint;
  readonly lastOffset: bigint;
  /** Records in it. Compaction leaves fewer than its offsets. */
  readonly count: number;
  readonly producerId: bigint;
  readonly isTransactional: boolean;
  readonly isControl: boolean;
  records(): KafkaRecord[];
}

const HEADER_BYTES = 61;
const LENGTH_AT = 8;
/** Restage's batches hold a record of up to 60 MiB. Checked while it is inflated: a bomb is never there whole. */
const LARGEST_BATCH_BYTES = 64 * 1024 * 1024;
const LEAST_INFLATED_BYTES = 1024;
const MOST_INFLATED_AT_ONCE_BYTES = 4 * 1024 * 1024;
const GZIP = 1;
const NO_HEADERS: ReadonlyMap<string, Buffer> = new Map();

/** Whole batches in a fetched run of bytes; a batch that was cut at the end is left out. @throws RestageError record_invalid. */
export function decodeBatches(bytes: Buffer, where: string): DecodedBatch[] {
  const batches: DecodedBatch[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length;) {
    const length = bytes.readInt32BE(at + LENGTH_AT) + LENGTH_AT + 4;
    if (length < HEADER_BYTES)
      throw new RestageError('record_invalid', 'a record batch is shorter than its header', { where });
    if (at + length > bytes.length) break;
    batches.push(decodeHeader(bytes.subarray(at, at + length), where));
    at += length;
  }
  return batches;
}

/** The bytes of the first batch, when a fetch was too small for it: ask again with that much. */
export function firstBatchBytes(bytes: Buffer): number {
  return bytes.length < LENGTH_AT + 4 ? 0 : bytes.readInt32BE(LENGTH_AT) + LENGTH_AT + 4;
}

function decodeHeader(batch: Buffer, where: string): DecodedBatch {
  const magic = batch.readInt8(16);
  if (magic !== 2) throw new RestageError('record_invalid', `a record batch has format ${magic}, not 2`, { where });
  const attributes = batch.readInt16BE(21);
  const baseOffset = batch.readBigInt64BE(0);
  return {
    baseOffset,
    lastOffset: baseOffset + BigInt(batch.readInt32BE(23)),
    count: batch.readInt32BE(57),
    producerId: batch.readBigInt64BE(43),
    isTransactional: (attributes & 0x10) !== 0,
    isControl: (attributes & 0x20) !== 0,
    records: () => decodeRecords(batch, attributes & 7, baseOffset, where),
  };
}

function decodeRecords(batch: Buffer, compression: number, baseOffset: bigint, where: string): KafkaRecord[] {
  const count = batch.readInt32BE(57);
  const bytes = decompress(batch.subarray(HEADER_BYTES), compression, where);
  const body: BatchBody = { bytes, baseOffset };
  const cursor = new Cursor(bytes);
  const records: KafkaRecord[] = [];
  try {
    for (let index = 0; index < count; index += 1) records.push(decodeRecord(cursor, body));
  } catch (cause) {
    throw new RestageError('record_invalid', 'a record batch ends too early', { where, cause });
  }
  return records;
}

function decompress(body: Buffer, compression: number, where: string): Buffer {
  if (compression === 0) return body;
  if (compression !== GZIP) {
    throw new RestageError('record_invalid', `a record batch is compressed with method ${compression}`, {
      where,
      fix: "Restage writes gzip; leave the topic's compression.type at producer",
    });
  }
  try {
    return gunzipSync(body, { maxOutputLength: LARGEST_BATCH_BYTES, chunkSize: inflatedBytes(body) });
  } catch (cause) {
    throw new RestageError('record_invalid', 'a record batch does not decompress, or not within 64 MiB', {
      where,
      cause,
    });
  }
}

/** As a gzip file's end says (RFC 1952, ISIZE), so that it is inflated in one piece; within bounds, for it may say anything. */
function inflatedBytes(body: Buffer): number {
  const said = body.length < 4 ? 0 : body.readUInt32LE(body.length - 4);
  return Math.min(Math.max(said + 1, LEAST_INFLATED_BYTES), MOST_INFLATED_AT_ONCE_BYTES);
}

function decodeRecord(cursor: Cursor, batch: BatchBody): KafkaRecord {
  const end = cursor.varint() + cursor.at;
  cursor.at += 1;
  cursor.varint();
  const delta = cursor.varint();
  const keyBytes = cursor.skipSized();
  const keyEnd = cursor.at;
  const valueBytes = cursor.skipSized();
  const valueEnd = cursor.at;
  const { bytes, at } = cursor;
  const fixed = StreamHeaders.find(bytes, at, end) ?? ChunkHeaders.find(bytes, at, end);
  const headers = fixed ?? decodeHeaders(cursor);
  if (fixed !== null) cursor.at = end;
  // Else a length that points back would decode the same bytes for ever.
  if (cursor.at !== end) throw new RangeError('a record is not as long as it says');
  return new FetchedRecord(batch, delta, keyBytes, keyEnd, valueBytes, valueEnd, headers);
}

interface BatchBody {
  readonly bytes: Buffer;
  readonly baseOffset: bigint;
}

/** Views are made when they are asked for: a reader of values does not pay for keys and offsets. */
class FetchedRecord implements KafkaRecord, ByteRange {
  /** The whole batch's. */
  readonly bytes: Buffer;
  /** Of the value. */
  readonly from: number;
  readonly end: number;
  readonly headers: ReadonlyMap<string, Buffer>;
  readonly #baseOffset: bigint;
  readonly #delta: number;
  readonly #keyBytes: number;
  readonly #keyEnd: number;
  readonly #hasValue: boolean;

  /** Lengths are −1 for null. */
  constructor(
    { bytes, baseOffset }: BatchBody,
    delta: number,
    keyBytes: number,
    keyEnd: number,
    valueBytes: number,
    valueEnd: number,
    headers: ReadonlyMap<string, Buffer>,
  ) {
    this.bytes = bytes;
    this.from = valueEnd - Math.max(valueBytes, 0);
    this.end = valueEnd;
    this.headers = headers;
    this.#baseOffset = baseOffset;
    this.#delta = delta;
    this.#keyBytes = keyBytes;
    this.#keyEnd = keyEnd;
    this.#hasValue = valueBytes >= 0;
  }

  get offset(): bigint {
    return this.#baseOffset + BigInt(this.#delta);
  }

  get key(): Buffer | null {
    return this.#keyBytes < 0 ? null : this.bytes.subarray(this.#keyEnd - this.#keyBytes, this.#keyEnd);
  }

  get value(): Buffer | null {
    return this.#hasValue ? this.bytes.subarray(this.from, this.end) : null;
  }

  get valueRange(): ByteRange | null {
    return this.#hasValue ? this : null;
  }
}

function decodeHeaders(cursor: Cursor): ReadonlyMap<string, Buffer> {
  const count = cursor.varint();
  if (count === 0) return NO_HEADERS;
  const headers = new Map<string, Buffer>();
  for (let index = 0; index < count; index += 1) {
    const name = cursor.sized();
    const value = cursor.sized();
    if (name !== null && value !== null) headers.set(name.toString('latin1'), value);
  }
  return headers;
}

class Cursor {
  at = 0;
  readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** Zig-zag; timestamps beyond 2^53 do not occur. */
  varint(): number {
    let result = 0;
    let scale = 1;
    for (;;) {
      const byte = this.bytes[this.at];
      if (byte === undefined) throw new RangeError('past the end');
      this.at += 1;
      result += (byte & 127) * scale;
      if (byte < 128) break;
      scale *= 128;
    }
    return result % 2 === 0 ? result / 2 : -(result + 1) / 2;
  }

  sized(): Buffer | null {
    const length = this.skipSized();
    return length < 0 ? null : this.bytes.subarray(this.at - length, this.at);
  }

  /** Steps over a length and that many bytes; returns it, −1 for null. */
  skipSized(): number {
    const length = this.varint();
    if (length < 0) return -1;
    if (this.at + length > this.bytes.length) throw new RangeError('past the end');
    this.at += length;
    return length;
  }
}
