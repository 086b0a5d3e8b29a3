import { promisify } from 'node:util';
import { gzip, gzipSync } from 'node:zlib';
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
const NOTHING = Buffer.alloc(0);
const PACKING = { level: 1, chunkSize: PACKED_CHUNK_BYTES };
const SMALL_PACKING = { level: 1, chunkSize: SMALL_CHUNK_BYTES };
const packBeside = promisify<Buffer, typeof PACKING, Buffer>(gzip);
/** Room for the varints in front of key, value and headers. */
const OVERHEAD_BYTES = 32;

/** Encodes records straight into one growing buffer: no object per record. */
export class RecordBatchBuilder implements RecordBatch {
  #buffer: Buffer;
  /** Its records, packed before it is sent. */
  #packed: Buffer | null = null;
  #packing: Promise<void> | null = null;
  #at = HEADER_BYTES;
  #count = 0;

  constructor(initialBytes = 65_536) {
    this.#buffer = Buffer.allocUnsafe(initialBytes);
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#at;
  }

  /** `headers`: as encodeHeaders makes them. Strings are written as UTF-8. */
  append(key: string | Buffer | null, value: string | Buffer | null, headers: Buffer): void {
    const keyBytes = key === null ? -1 : Buffer.byteLength(key);
    const valueBytes = value === null ? -1 : Buffer.byteLength(value);
    const delta = this.#count;
    const body =
      1 +
      1 +
      varintBytes(delta) +
      varintBytes(keyBytes) +
      Math.max(keyBytes, 0) +
      varintBytes(valueBytes) +
      Math.max(valueBytes, 0) +
      headers.length;
    this.#reserve(body + OVERHEAD_BYTES);
    this.#varint(body);
    this.#buffer[this.#at++] = 0; // attributes
    this.#buffer[this.#at++] = 0; // timestamp delta
    this.#varint(delta);
    this.#varint(keyBytes);
    this.#put(key, keyBytes);
    this.#varint(valueBytes);
    this.#put(value, valueBytes);
    headers.copy(this.#buffer, this.#at);
    this.#at += headers.length;
    this.#count += 1;
  }

  /** Nothing is appended any more, and it will be sent compressed: what waits is packed already (invariant 6). */
  pack(): void {
    if (this.#isSmall) return;
    this.#packed ??= this.#pack();
    this.#buffer = NOTHING;
  }

  packed(): Promise<void> {
    if (this.#at < PACK_BESIDE_FROM || this.#packed !== null) return Promise.resolve();
    this.#packing ??= packBeside(this.#records(), PACKING).then((packed) => {
      this.#packed = packed;
      this.#buffer = NOTHING;
    });
    return this.#packing;
  }

  get #isSmall(): boolean {
    return this.#at - HEADER_BYTES <= NO_COMPRESSION_BELOW;
  }

  #records(): Buffer {
    return this.#buffer.subarray(HEADER_BYTES, this.#at);
  }

  #pack(): Buffer {
    return gzipSync(this.#records(), this.#at < PACK_BESIDE_FROM ? SMALL_PACKING : PACKING);
  }

  seal(stamp: BatchStamp): Buffer {
    let batch = this.#buffer.subarray(0, this.#at);
    const isCompressed = this.#packed !== null || (stamp.compress && !this.#isSmall);
    if (isCompressed) {
      const packed = this.#packed ?? this.#pack();
      batch = Buffer.allocUnsafe(HEADER_BYTES + packed.length);
      packed.copy(batch, HEADER_BYTES);
    }
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

  #put(data: string | Buffer | null, bytes: number): void {
    if (data === null) return;
    if (typeof data === 'string') this.#buffer.write(data, this.#at, bytes, 'utf8');
    else data.copy(this.#buffer, this.#at);
    this.#at += bytes;
  }

  #varint(value: number): void {
    let rest = value >= 0 ? value * 2 : -value * 2 - 1;
    while (rest > 127) {
      this.#buffer[this.#at++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.#buffer[this.#at++] = rest;
  }

  #reserve(more: number): void {
    const needed = this.#at + more;
    if (needed <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(grown, 0, 0, this.#at);
    this.#buffer = grown;
  }
}

/** Length of a zig-zag varint. */
function varintBytes(value: number): number {
  let rest = value >= 0 ? value * 2 : -value * 2 - 1;
  let bytes = 1;
  while (rest > 127) {
    rest = Math.floor(rest / 128);
    bytes += 1;
  }
  return bytes;
}
