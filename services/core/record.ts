import type { Lsn } from '#core/lsn.ts';
import { POSITION_BYTES, readPosition, writePosition, type Position } from '#core/position.ts';
import { readUint53, writeUint53 } from '#core/uint53.ts';

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
  writeUint53(CHUNK_TEMPLATE, ROW_AT, row);
  writeUint53(CHUNK_TEMPLATE, CHUNK_EPOCH_AT, epoch);
  CHUNK_TEMPLATE.writeUInt32BE(structure, CHUNK_STRUCTURE_AT);
  return CHUNK_TEMPLATE;
}

/** What stands between the values of STREAM_TEMPLATE: from, to. */
const FIXED_BYTES = [
  [0, POS_AT],
  [POS_AT + POSITION_BYTES, XID_AT],
  [XID_AT + 8, EPOCH_AT],
  [EPOCH_AT + 8, STRUCTURE_AT],
] as const;
const FIXED_TEMPLATE = Buffer.from(STREAM_TEMPLATE);

/** The headers of a stream event as they stand in a batch, taken apart when they are asked for: most are only asked for their numbers. */
export class StreamHeaders implements ReadonlyMap<string, Buffer> {
  readonly #bytes: Buffer;
  readonly #at: number;
  readonly size = 4;

  /** null where other headers stand there. */
  static find(bytes: Buffer, from: number, end: number): StreamHeaders | null {
    if (end - from !== FIXED_TEMPLATE.length) return null;
    for (const [start, stop] of FIXED_BYTES)
      for (let index = start; index < stop; index += 1) if (bytes[from + index] !== FIXED_TEMPLATE[index]) return null;
    return new StreamHeaders(bytes, from);
  }

  private constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get facts(): EventHeaders {
    const [bytes, at] = [this.#bytes, this.#at];
    return {
      position: readPosition(bytes, at + POS_AT),
      xid: bytes.readBigUInt64BE(at + XID_AT),
      epoch: readUint53(bytes, at + EPOCH_AT),
      structure: bytes.readUInt32BE(at + STRUCTURE_AT),
    };
  }

  get(name: string): Buffer | undefined {
    switch (name) {
      case 'pos':
        return this.#view(POS_AT, POSITION_BYTES);
      case 'xid':
        return this.#view(XID_AT, 8);
      case 'epoch':
        return this.#view(EPOCH_AT, 8);
      case 'structure':
        return this.#view(STRUCTURE_AT, 4);
      default:
        return undefined;
    }
  }

  has(name: string): boolean {
    return name === 'pos' || name === 'xid' || name === 'epoch' || name === 'structure';
  }

  entries(): MapIterator<[string, Buffer]> {
    return this.#map().entries();
  }

  keys(): MapIterator<string> {
    return this.#map().keys();
  }

  values(): MapIterator<Buffer> {
    return this.#map().values();
  }

  forEach(take: (value: Buffer, name: string, map: ReadonlyMap<string, Buffer>) => void): void {
    this.#map().forEach(take);
  }

  [Symbol.iterator](): MapIterator<[string, Buffer]> {
    return this.entries();
  }

  #view(from: number, bytes: number): Buffer {
    return this.#bytes.subarray(this.#at + from, this.#at + from + bytes);
  }

  #map(): Map<string, Buffer> {
    return new Map([
      ['pos', this.#view(POS_AT, POSITION_BYTES)],
      ['xid', this.#view(XID_AT, 8)],
      ['epoch', this.#view(EPOCH_AT, 8)],
      ['structure', this.#view(STRUCTURE_AT, 4)],
    ]);
  }
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
