import { FixedHeaders, HeaderLayout } from '#core/fixed-headers.ts';
import type { Lsn } from '#core/lsn.ts';
import { POSITION_BYTES, readPosition, writePosition, type Position } from '#core/position.ts';
import { readUint32, readUint53, readUint64, writeUint53 } from '#core/uint53.ts';

/** A Kafka record as a reader gets it. `key` and `value` are views into the fetched batch. */
export interface KafkaRecord {
  readonly offset: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** Where `value` stands in its batch: to make a view of each takes longer than to read it. Absent where there is no such batch. */
  readonly valueRange?: ByteRange | null;
  readonly headers: ReadonlyMap<string, Buffer>;
}

export interface ByteRange {
  readonly bytes: Buffer;
  readonly from: number;
  readonly end: number;
}

/** Where a record's value stands; null where it has none. */
export function valueRangeOf(record: KafkaRecord): ByteRange | null {
  const { valueRange } = record;
  if (valueRange !== undefined) return valueRange;
  const { value } = record;
  return value === null ? null : { bytes: value, from: 0, end: value.length };
}

/** What an event's headers say. `position` for stream events, `chunk` and `row` for snapshot rows. */
export interface EventHeaders extends EventPlace {
  readonly xid: bigint;
  readonly epoch: number;
}

/** What of a stream event's headers everybody wants. */
export interface EventPlace {
  readonly position: Position;
  readonly structure: number;
}

/** Streams: `pos` (16 bytes), `xid` (8), `epoch` (8), `structure` (4), all big-endian, both profiles. */
const STREAM_LAYOUT = new HeaderLayout([
  ['pos', POSITION_BYTES],
  ['xid', 8],
  ['epoch', 8],
  ['structure', 4],
]);
const STREAM_TEMPLATE = Buffer.from(STREAM_LAYOUT.template);
const POS_AT = STREAM_LAYOUT.placeOf('pos');
const XID_AT = STREAM_LAYOUT.placeOf('xid');
const EPOCH_AT = STREAM_LAYOUT.placeOf('epoch');
const STRUCTURE_AT = STREAM_LAYOUT.structureAt;

/** Encoded as record format 2 wants them: count, then length-prefixed names and values. One buffer, reused: copy it out before the next call. */
export function streamHeaders(headers: EventHeaders): Buffer {
  writePosition(STREAM_TEMPLATE, POS_AT, headers.position);
  STREAM_TEMPLATE.writeBigUInt64BE(headers.xid, XID_AT);
  writeUint53(STREAM_TEMPLATE, EPOCH_AT, headers.epoch);
  STREAM_TEMPLATE.writeUInt32BE(headers.structure, STRUCTURE_AT);
  return STREAM_TEMPLATE;
}

/** streamHeaders for many events of a few transactions: only what differs from the last event's is written anew. */
export class StreamHeaderWriter {
  readonly #bytes = Buffer.from(STREAM_TEMPLATE);
  #commit: Lsn | null = null;
  #xid = -1n;
  #epoch = -1;

  /** Encoded. One buffer, reused: copy it out before the next call. */
  write(commit: Lsn, ordinal: number, xid: bigint, epoch: number, structure: number): Buffer {
    const bytes = this.#bytes;
    if (commit !== this.#commit) bytes.writeBigUInt64BE(commit, POS_AT);
    if (xid !== this.#xid) bytes.writeBigUInt64BE(xid, XID_AT);
    if (epoch !== this.#epoch) writeUint53(bytes, EPOCH_AT, epoch);
    writeUint53(bytes, POS_AT + 8, ordinal);
    bytes.writeUInt32BE(structure, STRUCTURE_AT);
    this.#commit = commit;
    this.#xid = xid;
    this.#epoch = epoch;
    return bytes;
  }
}

/** Snapshot rows: `chunk` (4 bytes), `row` (8), `epoch` (8), `structure` (4). */
const CHUNK_LAYOUT = new HeaderLayout([
  ['chunk', 4],
  ['row', 8],
  ['epoch', 8],
  ['structure', 4],
]);
const CHUNK_TEMPLATE = Buffer.from(CHUNK_LAYOUT.template);
const CHUNK_AT = CHUNK_LAYOUT.placeOf('chunk');
const ROW_AT = CHUNK_LAYOUT.placeOf('row');
const CHUNK_EPOCH_AT = CHUNK_LAYOUT.placeOf('epoch');
const CHUNK_STRUCTURE_AT = CHUNK_LAYOUT.structureAt;

/** Snapshot rows have chunk and row number instead of `pos`. One buffer, reused, as streamHeaders. */
export function chunkHeaders(chunk: number, row: number, epoch: number, structure: number): Buffer {
  CHUNK_TEMPLATE.writeUInt32BE(chunk, CHUNK_AT);
  writeUint53(CHUNK_TEMPLATE, ROW_AT, row);
  writeUint53(CHUNK_TEMPLATE, CHUNK_EPOCH_AT, epoch);
  CHUNK_TEMPLATE.writeUInt32BE(structure, CHUNK_STRUCTURE_AT);
  return CHUNK_TEMPLATE;
}

/** The headers of a stream event as they stand in a batch. */
export class StreamHeaders extends FixedHeaders {
  #position: Position | null = null;

  /** null where other headers stand there. */
  static find(bytes: Buffer, from: number, end: number): StreamHeaders | null {
    return STREAM_LAYOUT.matches(bytes, from, end) ? new StreamHeaders(STREAM_LAYOUT, bytes, from) : null;
  }

  get position(): Position {
    this.#position ??= readPosition(this.bytes, this.at + POS_AT);
    return this.#position;
  }

  get structure(): number {
    return readUint32(this.bytes, this.at + STRUCTURE_AT);
  }

  get facts(): EventHeaders {
    return {
      position: this.position,
      xid: readUint64(this.bytes, this.at + XID_AT),
      epoch: readUint53(this.bytes, this.at + EPOCH_AT),
      structure: this.structure,
    };
  }
}

/** The headers of a snapshot row as they stand in a batch. */
export class ChunkHeaders extends FixedHeaders {
  /** null where other headers stand there. */
  static find(bytes: Buffer, from: number, end: number): ChunkHeaders | null {
    return CHUNK_LAYOUT.matches(bytes, from, end) ? new ChunkHeaders(CHUNK_LAYOUT, bytes, from) : null;
  }
}

/** The same as readStreamHeaders for who needs no more of them. */
export function readEventPlace(record: KafkaRecord): EventPlace | null {
  return record.headers instanceof StreamHeaders ? record.headers : readStreamHeaders(record);
}

/** null when the record is not a stream event of ours. */
export function readStreamHeaders(record: KafkaRecord): EventHeaders | null {
  if (record.headers instanceof StreamHeaders) return record.headers.facts;
  const pos = record.headers.get('pos');
  const xid = record.headers.get('xid');
  const epoch = record.headers.get('epoch');
  const structure = record.headers.get('structure');
  if (pos?.length !== POSITION_BYTES || xid?.length !== 8 || epoch?.length !== 8 || structure?.length !== 4)
    return null;
  return {
    position: readPosition(pos),
    xid: xid.readBigUInt64BE(),
    epoch: Number(epoch.readBigUInt64BE()),
    structure: structure.readUInt32BE(),
  };
}
