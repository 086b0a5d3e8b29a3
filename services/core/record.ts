import { POSITION_BYTES, readPosition, writePosition, type Position } from '#core/position.ts';

/** A Kafka record as a reader gets it. `key` and `value` are views into the fetched batch. */
export interface KafkaRecord {
  readonly offset: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: ReadonlyMap<string, Buffer>;
}

/** What an event's headers say. `position` for stream events, `chunk` and `row` for snapshot rows. */
export interface EventHeaders {
  readonly position: Position;
  readonly xid: bigint;
  readonly epoch: number;
  readonly structure: number;
}

/** Streams: `pos` (16 bytes), `xid` (8), `epoch` (8), `structure` (4), all big-endian, both profiles. */
const STREAM_TEMPLATE = encodeHeaders([
  ['pos', Buffer.alloc(POSITION_BYTES)],
  ['xid', Buffer.alloc(8)],
  ['epoch', Buffer.alloc(8)],
  ['structure', Buffer.alloc(4)],
]);
const POS_AT = 1 + 1 + 3 + 1;
const XID_AT = POS_AT + POSITION_BYTES + 1 + 3 + 1;
const EPOCH_AT = XID_AT + 8 + 1 + 5 + 1;
const STRUCTURE_AT = EPOCH_AT + 8 + 1 + 9 + 1;

/** Encoded as record format 2 wants them: count, then length-prefixed names and values. One buffer, reused: copy it out before the next call. */
export function streamHeaders(headers: EventHeaders): Buffer {
  writePosition(STREAM_TEMPLATE, POS_AT, headers.position);
  STREAM_TEMPLATE.writeBigUInt64BE(headers.xid, XID_AT);
  STREAM_TEMPLATE.writeBigUInt64BE(BigInt(headers.epoch), EPOCH_AT);
  STREAM_TEMPLATE.writeUInt32BE(headers.structure, STRUCTURE_AT);
  return STREAM_TEMPLATE;
}

/** Snapshot rows: `chunk` (4 bytes), `row` (8), `epoch` (8), `structure` (4). */
const CHUNK_TEMPLATE = encodeHeaders([
  ['chunk', Buffer.alloc(4)],
  ['row', Buffer.alloc(8)],
  ['epoch', Buffer.alloc(8)],
  ['structure', Buffer.alloc(4)],
]);
const CHUNK_AT = 1 + 1 + 5 + 1;
const ROW_AT = CHUNK_AT + 4 + 1 + 3 + 1;
const CHUNK_EPOCH_AT = ROW_AT + 8 + 1 + 5 + 1;
const CHUNK_STRUCTURE_AT = CHUNK_EPOCH_AT + 8 + 1 + 9 + 1;

/** Snapshot rows have chunk and row number instead of `pos`. One buffer, reused, as streamHeaders. */
export function chunkHeaders(chunk: number, row: number, epoch: number, structure: number): Buffer {
  CHUNK_TEMPLATE.writeUInt32BE(chunk, CHUNK_AT);
  CHUNK_TEMPLATE.writeBigUInt64BE(BigInt(row), ROW_AT);
  CHUNK_TEMPLATE.writeBigUInt64BE(BigInt(epoch), CHUNK_EPOCH_AT);
  CHUNK_TEMPLATE.writeUInt32BE(structure, CHUNK_STRUCTURE_AT);
  return CHUNK_TEMPLATE;
}

/** null when the record is not a stream event of ours. */
export function readStreamHeaders(record: KafkaRecord): EventHeaders | null {
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

export function encodeHeaders(headers: readonly (readonly [string, Buffer])[]): Buffer {
  const parts: Buffer[] = [varint(headers.length)];
  for (const [name, value] of headers)
    parts.push(varint(Buffer.byteLength(name)), Buffer.from(name), varint(value.length), value);
  return Buffer.concat(parts);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value * 2;
  while (rest > 127) {
    bytes.push((rest & 127) | 128);
    rest >>>= 7;
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}
