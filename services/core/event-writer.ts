import { isUtf8 } from 'node:buffer';
import { ByteWriter } from '#core/byte-writer.ts';
import { bytesOf, type EventFacts, type EventTail, type StreamOp, type TransactionFacts } from '#core/event-tail.ts';
import type { ColumnStructure } from '#core/structure.ts';
import { KIND_AND_LENGTH, TEXT_KIND, UNCHANGED_KIND, type WireTuple } from '#core/tuple.ts';

/** Of an image: the whole row, or its identity alone. */
export interface WireImage {
  readonly tuple: WireTuple;
  readonly isKey: boolean;
}

/** JSON makes up to six bytes of one: a control character. */
const MOST_PER_BYTE = 6;
const TRUE = 0x74;
const NULL = bytesOf('null');
const [QUOTE, COMMA, OPEN, CLOSE] = [0x22, 0x2c, 0x7b, 0x7d];
const BEFORE = bytesOf('{"before":');
const AFTER = bytesOf(',"after":');
const YES = bytesOf('true');
const NO = bytesOf('false');

/** What becomes of a byte of text in a JSON string: it stands as it is, it is a part of a longer character, or it is escaped. */
const PLAIN = 1;
const LONGER = 2;
const ESCAPED = 0;
const CLASSES = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte >= 0x80) return LONGER;
  return byte < 0x20 || byte === QUOTE || byte === 0x5c ? ESCAPED : PLAIN;
});
const ESCAPES = Array.from(CLASSES, (kind, byte) =>
  kind === ESCAPED ? bytesOf(JSON.stringify(String.fromCharCode(byte)).slice(1, -1)) : NULL,
);

/** Writes the envelopes that EventEncoder writes, byte for byte, of rows as the stream brought them: no text is made of a value. */
export class EventWriter {
  readonly #columns: readonly ColumnStructure[];
  readonly #names: readonly Uint8Array[];
  readonly #keyIndexes: readonly number[];
  readonly #tail: EventTail;
  /** What stands around values in an image, at most. */
  readonly #around: number;
  // Nothing before a first event: there may be ten thousand tables.
  readonly #event = new ByteWriter(0);
  readonly #key = new ByteWriter(0);

  /** `columns`: those that values come for, in their order; `keyIndexes`: the identity's among them. */
  constructor(columns: readonly ColumnStructure[], keyIndexes: readonly number[], tail: EventTail) {
    this.#columns = columns;
    this.#names = columns.map(({ name }) => bytesOf(`${JSON.stringify(name)}:`));
    this.#keyIndexes = keyIndexes;
    this.#tail = tail;
    this.#around = this.#names.reduce((sum, { length }) => sum + length + 1, 16);
  }

  /** The key's JSON, or null where the table has no identity. A view, which the next call gives up. */
  key(tuple: WireTuple): Buffer | null {
    if (this.#keyIndexes.length === 0) return null;
    const out = this.#key;
    out.clear();
    out.reserve(this.#most(tuple));
    this.#writeKey(out, tuple);
    return out.view();
  }

  /** A change of the stream. A view, which the next call gives up. */
  change(
    op: StreamOp,
    before: WireImage | null,
    after: WireTuple | null,
    transaction: TransactionFacts,
    event: EventFacts,
  ): Buffer {
    const out = this.#event;
    out.clear();
    out.reserve(this.#tail.most + this.#most(before?.tuple ?? null) + this.#most(after));
    out.put(BEFORE);
    if (before === null) out.put(NULL);
    else if (before.isKey) this.#writeKey(out, before.tuple);
    else this.#writeRow(out, before.tuple);
    out.put(AFTER);
    if (after === null) out.put(NULL);
    else this.#writeRow(out, after);
    this.#tail.write(out, op, transaction, event);
    return out.view();
  }

  /** A row of the snapshot, with the tail that all of its moment share. A view, which the next call gives up. */
  snapshotRow(after: WireTuple, tail: Uint8Array): Buffer {
    const out = this.#event;
    out.clear();
    out.reserve(BEFORE.length + NULL.length + AFTER.length + this.#most(after) + tail.length);
    out.put(BEFORE);
    out.put(NULL);
    out.put(AFTER);
    this.#writeRow(out, after);
    out.put(tail);
    return out.view();
  }

  /** Whether the identity's values are all there: of an unchanged, toasted one the new row has none. */
  hasKey(tuple: WireTuple): boolean {
    return this.#keyIndexes.every((index) => tuple.bytes[tuple.find(index)] !== UNCHANGED_KIND);
  }

  /** Whether two rows have the same identity. */
  isSameKey(a: WireTuple, b: WireTuple): boolean {
    return this.#keyIndexes.every((index) => {
      const [fromA, fromB] = [a.find(index), b.find(index)];
      return a.bytes.compare(b.bytes, fromB, b.after(fromB), fromA, a.after(fromA)) === 0;
    });
  }

  #most(tuple: WireTuple | null): number {
    return tuple === null ? NULL.length : this.#around + MOST_PER_BYTE * (tuple.end - tuple.start);
  }

  #writeKey(out: ByteWriter, tuple: WireTuple): void {
    let separator = OPEN;
    for (const index of this.#keyIndexes) {
      out.byte(separator);
      separator = COMMA;
      this.#writeCell(out, index, tuple, tuple.find(index));
    }
    if (separator === OPEN) out.byte(OPEN);
    out.byte(CLOSE);
  }

  #writeRow(out: ByteWriter, tuple: WireTuple): void {
    const { bytes } = tuple;
    let separator = OPEN;
    let at = tuple.start;
    const count = Math.min(tuple.length, this.#columns.length);
    for (let index = 0; index < count; index += 1) {
      // A source may send generated columns (publish_generated_columns); snapshots never have them.
      if (bytes[at] !== UNCHANGED_KIND && this.#columns[index]?.generated !== true) {
        out.byte(separator);
        separator = COMMA;
        this.#writeCell(out, index, tuple, at);
      }
      at = tuple.after(at);
    }
    if (separator === OPEN) out.byte(OPEN);
    out.byte(CLOSE);
  }

  #writeCell(out: ByteWriter, index: number, tuple: WireTuple, at: number): void {
    const { bytes } = tuple;
    out.put(this.#names[index]!); // every column has one
    if (bytes[at] !== TEXT_KIND) return out.put(NULL);
    const [from, end] = [at + KIND_AND_LENGTH, tuple.after(at)];
    switch (this.#columns[index]?.json) {
      case 'integer':
        return out.copy(bytes, from, end);
      case 'boolean':
        return out.put(bytes[from] === TRUE && end === from + 1 ? YES : NO);
      default:
        out.byte(QUOTE);
        writeText(out, bytes, from, end);
        out.byte(QUOTE);
    }
  }
}

/** A value as a JSON string has it: runs that need no escape are copied as they are. */
function writeText(out: ByteWriter, bytes: Buffer, from: number, end: number): void {
  for (let at = from; ; at += 1) {
    const start = at;
    let seen = 0;
    for (let kind; at < end && (kind = CLASSES[bytes[at]!]!) !== ESCAPED; at += 1) seen |= kind; // every byte has a class
    if ((seen & LONGER) === 0) out.copy(bytes, start, at);
    else out.put(asUtf8(bytes.subarray(start, at)));
    if (at === end) return;
    out.put(ESCAPES[bytes[at]!]!); // same
  }
}

/** What is no UTF-8 becomes what a reader of text would make of it. */
function asUtf8(bytes: Buffer): Buffer {
  return isUtf8(bytes) ? bytes : Buffer.from(bytes.toString('utf8'));
}
