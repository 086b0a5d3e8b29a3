import { promisify } from 'node:util';
import { gzip, gzipSync } from 'node:zlib';
import { type ByteWriter, varintBytes } from '#core/byte-writer.ts';
import { ByteWriters } from '#core/byte-writers.ts';
import { crc32c } from '#core/crc32c.ts';

/** Kafka's record batch, format 2 (Kafka: "Message Format"). Offsets and the producer's numbers are stamped by `seal`. */
export interface RecordBatch {
  readonly count: number;
  readonly bytes: number;
  /** Packs it on another thread, where that is not done yet; before `seal`, which else does it on this one. Nothing is appended any more. */
  packed(): Promise<void>;
  /** Finishes the batch for sending. Once per batch. */
  seal(stamp: BatchStamp): Buffer;
}

export interface BatchStamp {
  readonly producerId: bigint;
  readonly producerEpoch: number;
  readonly baseSequence: number;
  readonly timestampMs: number;
  readonly compress: boolean;
  /** Part of a transaction; true unless said otherwise. */
  readonly transactional?: boolean;
}

const HEADER_BYTES = 61;
const CRC_FROM = 21;
const TRANSACTIONAL = 0x10;
const GZIP = 1;
const NO_COMPRESSION_BELOW = 512;
/** Most batches are packed into less: then the packed bytes are not put together from pieces. */
const PACKED_CHUNK_BYTES = 262_144;
/** Handing less to another thread takes longer than to pack it. */
const PACK_BESIDE_FROM = 65_536;
const SMALL_CHUNK_BYTES = 16_384;
const PACKING = { level: 1, chunkSize: PACKED_CHUNK_BYTES };
const SMALL_PACKING = { level: 1, chunkSize: SMALL_CHUNK_BYTES };
const packBeside = promisify<Buffer, typeof PACKING, Buffer>(gzip);
/** Room for the varints in front of key, value and headers. */
const OVERHEAD_BYTES = 32;

/** Encodes records straight into one growing buffer: no object per record. */
export class RecordBatchBuilder implements RecordBatch {
  readonly #writers: ByteWriters;
  /** Room for the batch's header, then its records; null once these are packed. */
  #written: ByteWriter | null;
  /** Its records, packed before it is sent. */
  #packed: Buffer | null = null;
  #packing: Promise<void> | null = null;
  #bytes = HEADER_BYTES;
  #count = 0;

  /** `writers`: what it is written with comes from there, and goes back once it is packed. */
  constructor(writers = new ByteWriters()) {
    this.#writers = writers;
    this.#written = writers.take();
    this.#written.clear(HEADER_BYTES);
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** `headers`: as encodeHeaders makes them. Strings are written as UTF-8. */
  append(key: string | Buffer | null, value: string | Buffer | null, headers: Buffer): void {
    const out = this.#written;
    if (out === null) throw new RangeError('a batch that is packed takes no records');
    const keyBytes = bytesOf(key);
    const valueBytes = bytesOf(value);
    const delta = this.#count;
    const body =
      2 +
      varintBytes(delta) +
      varintBytes(keyBytes) +
      Math.max(keyBytes, 0) +
      varintBytes(valueBytes) +
      Math.max(valueBytes, 0) +
      headers.length;
    out.reserve(body + OVERHEAD_BYTES);
    out.varint(body);
    out.byte(0); // attributes
    out.byte(0); // timestamp delta
    out.varint(delta);
    put(out, key, keyBytes);
    put(out, value, valueBytes);
    out.put(headers);
    this.#bytes = out.length;
    this.#count += 1;
  }

  /** Nothing is appended any more, and it will be sent compressed: what waits is packed already (invariant 6). */
  pack(): void {
    if (this.#isSmall || this.#packing !== null) return;
    this.#packed ??= this.#pack();
    this.#release();
  }

  packed(): Promise<void> {
    if (this.#bytes < PACK_BESIDE_FROM || this.#packed !== null) return Promise.resolve();
    this.#packing ??= packBeside(this.#records(), PACKING).then((packed) => {
      this.#packed = packed;
      this.#release();
    });
    return this.#packing;
  }

  /** Not while another thread reads it. */
  #release(): void {
    if (this.#written !== null) this.#writers.give(this.#written);
    this.#written = null;
  }

  get #isSmall(): boolean {
    return this.#bytes - HEADER_BYTES <= NO_COMPRESSION_BELOW;
  }

  #whole(): Buffer {
    if (this.#written === null) throw new RangeError('a batch is packed already');
    return this.#written.view();
  }

  #records(): Buffer {
    return this.#whole().subarray(HEADER_BYTES);
  }

  #pack(): Buffer {
    return gzipSync(this.#records(), this.#bytes < PACK_BESIDE_FROM ? SMALL_PACKING : PACKING);
  }

  seal(stamp: BatchStamp): Buffer {
    const isCompressed = this.#packed !== null || (stamp.compress && !this.#isSmall);
    const batch = isCompressed ? withHeader(this.#packed ?? this.#pack()) : this.#whole();
    if (isCompressed && this.#packing === null) this.#release();
    const timestamp = BigInt(stamp.timestampMs);
    batch.writeBigInt64BE(0n, 0);
    batch.writeInt32BE(batch.length - 12, 8);
    batch.writeInt32BE(-1, 12);
    batch.writeInt8(2, 16);
    batch.writeInt16BE((stamp.transactional === false ? 0 : TRANSACTIONAL) | (isCompressed ? GZIP : 0), 21);
    batch.writeInt32BE(this.#count - 1, 23);
    batch.writeBigInt64BE(timestamp, 27);
    batch.writeBigInt64BE(timestamp, 35);
    batch.writeBigInt64BE(stamp.producerId, 43);
    batch.writeInt16BE(stamp.producerEpoch, 51);
    batch.writeInt32BE(stamp.baseSequence, 53);
    batch.writeInt32BE(this.#count, 57);
    batch.writeUInt32BE(crc32c(batch, CRC_FROM), 17);
    return batch;
  }
}

function withHeader(packed: Buffer): Buffer {
  const batch = Buffer.allocUnsafe(HEADER_BYTES + packed.length);
  packed.copy(batch, HEADER_BYTES);
  return batch;
}

/** −1 for none, which is how a record says so. */
function bytesOf(data: string | Buffer | null): number {
  if (data === null) return -1;
  return typeof data === 'string' ? Buffer.byteLength(data) : data.length;
}

function put(out: ByteWriter, data: string | Buffer | null, bytes: number): void {
  out.varint(bytes);
  if (typeof data === 'string') out.text(data, bytes);
  else if (data !== null) out.put(data);
}
