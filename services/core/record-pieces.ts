import { joinHeaders } from '#core/debezium/record-headers.ts';
import { RestageError } from '#core/errors.ts';
import { LongText, type Text } from '#core/long-text.ts';
import type { KafkaRecord } from '#core/record.ts';

/** 4 bytes index from 0, 4 bytes count, big-endian: on every piece of a row's record that is larger than a broker takes by default. */
export const PIECE_HEADER = 'piece';
/** With key and headers a piece stays below a broker's message.max.bytes, 1 MiB by default, whoever made the topic. */
const PIECE_BYTES = 900_000;
/** A UTF-16 unit takes up to three bytes of UTF-8. */
const PIECE_CHARACTERS = PIECE_BYTES / 3;
/** More than this no process takes as one value: a JavaScript string ends at 512 Mi characters. */
export const LARGEST_ROW_BYTES = 400 * 1024 * 1024;

/** What a row's record may have as its value. */
export type RowValue = Text | Buffer | null;

/** For a record of its own. */
export function plainValue(value: RowValue): string | Buffer | null {
  return value instanceof LongText ? String(value) : value;
}

/** Whether a value is larger than one record may be; a text perhaps, without its bytes being counted. */
export function isForPieces(value: RowValue): value is Text | Buffer {
  return value !== null && value.length > (Buffer.isBuffer(value) ? PIECE_BYTES : PIECE_CHARACTERS);
}

/** A value's pieces, each with its headers; none where it goes as it is. A text is never there a second time as bytes. */
export function* splitValue(value: RowValue, headers: Buffer): Generator<{ value: string | Buffer; headers: Buffer }> {
  if (!isForPieces(value)) return;
  const pieces = piecesOf(value);
  for (const [index, piece] of pieces.entries())
    yield { value: piece, headers: joinHeaders(headers, [[PIECE_HEADER, pieceHeader(index, pieces.length)]]) };
}

/** They point at the value. */
function piecesOf(value: Text | Buffer): readonly (string | Buffer)[] {
  if (!Buffer.isBuffer(value))
    return (typeof value === 'string' ? new LongText([value]) : value).pieces(PIECE_CHARACTERS);
  const count = Math.ceil(value.length / PIECE_BYTES);
  return Array.from({ length: count }, (_, index) =>
    value.subarray(index * PIECE_BYTES, Math.min(value.length, (index + 1) * PIECE_BYTES)),
  );
}

function pieceHeader(index: number, count: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(index, 0);
  bytes.writeUInt32BE(count, 4);
  return bytes;
}

interface OpenRecord {
  readonly first: KafkaRecord;
  readonly count: number;
  pieces: number;
  /** What came so far, and room: pieces are copied as they come, so that no row is there twice. */
  value: Buffer;
  bytes: number;
}

/** Puts pieces together again, one record at a time: it never holds more than one row (invariant 6). For one partition, in order. */
export class PieceJoiner {
  readonly #where: string;
  #open: OpenRecord | null = null;

  /** `where`: topic and partition, for messages. */
  constructor(where: string) {
    this.#where = where;
  }

  /** The records that are whole by now; a joined one has its first piece's offset. @throws RestageError record_invalid. */
  take(records: readonly KafkaRecord[]): readonly KafkaRecord[] {
    if (this.#open === null && !records.some((record) => record.headers.has(PIECE_HEADER))) return records;
    return records.flatMap((record) => this.#takeOne(record) ?? []);
  }

  /** @throws RestageError record_invalid where a row's last pieces are missing. */
  end(): void {
    if (this.#open !== null) throw this.#invalid(this.#open.first, 'the last pieces of a row are missing');
  }

  #takeOne(record: KafkaRecord): KafkaRecord | null {
    const header = record.headers.get(PIECE_HEADER);
    const open = this.#open;
    if (header === undefined) {
      if (open !== null) throw this.#invalid(record, 'the pieces of a row are interrupted');
      return record;
    }
    if (header.length !== 8 || record.value === null)
      throw this.#invalid(record, 'a piece of a row has no number or no value');
    const [index, count] = [header.readUInt32BE(0), header.readUInt32BE(4)];
    if (index !== (open?.pieces ?? 0) || index >= count || (open !== null && open.count !== count))
      throw this.#invalid(record, `piece ${index} of ${count} of a row is out of its place`);
    const bytes = (open?.bytes ?? 0) + record.value.length;
    if (bytes > LARGEST_ROW_BYTES) throw this.#invalid(record, 'the pieces of a row are more than a row may have');
    const going = open ?? { first: record, count, pieces: 0, value: Buffer.alloc(0), bytes: 0 };
    addPiece(going, record.value);
    this.#open = index + 1 < count ? going : null;
    return this.#open === null ? join(going) : null;
  }

  #invalid(record: KafkaRecord, what: string): RestageError {
    return new RestageError('record_invalid', what, {
      where: `${this.#where}, offset ${record.offset}`,
      fix: 'somebody else writes to this topic, or it is damaged',
    });
  }
}

/** Pieces but the last are about as long as each other. */
function addPiece(open: OpenRecord, piece: Buffer): void {
  const bytes = open.bytes + piece.length;
  if (bytes > open.value.length) {
    const left = Math.max(open.count - open.pieces, 1);
    const wanted = Math.min(open.bytes + left * piece.length, LARGEST_ROW_BYTES);
    const grown = Buffer.allocUnsafeSlow(Math.max(bytes, wanted));
    open.value.copy(grown, 0, 0, open.bytes);
    open.value = grown;
  }
  piece.copy(open.value, open.bytes);
  open.bytes = bytes;
  open.pieces += 1;
}

function join({ first, value, bytes }: OpenRecord): KafkaRecord {
  const headers = new Map([...first.headers].filter(([name]) => name !== PIECE_HEADER));
  return { offset: first.offset, key: first.key, value: value.subarray(0, bytes), headers };
}
