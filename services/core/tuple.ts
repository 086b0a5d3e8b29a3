/** A column's TOASTed value that an UPDATE left alone: the server does not send it. A value of its own, never undefined. */
export const UNCHANGED: unique symbol = Symbol('unchanged TOAST');

/** PostgreSQL's text, NULL, or unchanged. */
export type TupleValue = string | null | typeof UNCHANGED;

/** A row's values in its columns' order. */
export type Tuple = readonly TupleValue[];

/** What stands before each value of a WireTuple: a text's length in four bytes and its bytes follow, nothing follows the others. */
export const TEXT_KIND = 0x74;
export const NULL_KIND = 0x6e;
export const UNCHANGED_KIND = 0x75;
export const KIND_AND_LENGTH = 5;
/**
 * What comes in more bytes is texts at once: while a large row is written it is not there as bytes too (invariant 6). An event of fewer, with
 * every byte escaped, is still smaller than what goes in pieces (core/record-pieces.ts).
 */
export const LARGE_TUPLE_BYTES = 49_152;

/** A row as the stream brought it (PostgreSQL: "Logical Replication Message Formats", TupleData): no text is made of it until somebody asks. */
export class WireTuple {
  readonly bytes: Buffer;
  /** Of the first value's kind. */
  readonly start: number;
  readonly end: number;
  /** How many values. */
  readonly length: number;

  /** `bytes` from `start` to `end`: so many values, whole, of the kinds above. */
  constructor(bytes: Buffer, start: number, end: number, length: number) {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.length = length;
  }

  /** Where the value after the one at `at` stands. */
  after(at: number): number {
    return this.bytes[at] === TEXT_KIND ? at + KIND_AND_LENGTH + this.bytes.readUInt32BE(at + 1) : at + 1;
  }

  /** Where a value stands. */
  find(index: number): number {
    let at = this.start;
    for (let left = index; left > 0; left -= 1) at = this.after(at);
    return at;
  }

  texts(): Tuple {
    let at = this.start;
    return Array.from({ length: this.length }, () => {
      const from = at;
      at = this.after(at);
      return this.#value(from, at);
    });
  }

  #value(at: number, end: number): TupleValue {
    const kind = this.bytes[at];
    if (kind === NULL_KIND) return null;
    return kind === TEXT_KIND ? this.bytes.toString('utf8', at + KIND_AND_LENGTH, end) : UNCHANGED;
  }
}

/** A row of the stream, in either form. */
export type SentTuple = Tuple | WireTuple;

export function textsOf(row: SentTuple): Tuple {
  return row instanceof WireTuple ? row.texts() : row;
}
