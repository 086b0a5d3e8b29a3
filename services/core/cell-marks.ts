const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
/** An image up to here is made one text of, and its values are parts of that. */
const SHORT_IMAGE_BYTES = 4096;
const MOST_BY_HAND = 64;
const WORDS = { null: Buffer.from('null'), true: Buffer.from('true'), false: Buffer.from('false') };
/** What a string of JSON may have behind a backslash, besides `u` and four digits (RFC 8259, 7). */
const ESCAPES: ReadonlySet<number> = new Set(Buffer.from('"\\/bfnrt'));
/** Bytes that end a run of plain ones in a string: quote, backslash and what must be escaped. */
const STOPS = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte < 0x20 || byte === QUOTE || byte === BACKSLASH ? 1 : 0,
);

/** What stands at a mark; strings come last. Plain: ASCII without escapes. Wide: without escapes, but with any characters. */
const IS_NULL = 0;
const IS_TRUE = 1;
const IS_FALSE = 2;
const IS_DIGITS = 3;
const IS_PLAIN = 4;
const IS_WIDE = 5;
const IS_ESCAPED = 6;

/**
 * Where the values of a row's image stand among bytes of JSON, by index: nothing is made of a value until somebody wants it. They are those of
 * the image that was read last.
 */
export class CellMarks {
  readonly #kinds: Uint8Array;
  readonly #starts: Uint32Array;
  readonly #ends: Uint32Array;

  constructor(most: number) {
    this.#kinds = new Uint8Array(most);
    this.#starts = new Uint32Array(most);
    this.#ends = new Uint32Array(most);
  }

  /** Marks the value that begins at `at`; returns where it ends, −1 where it is none of ours. */
  read(index: number, bytes: Buffer, at: number, end: number): number {
    switch (bytes[at]) {
      case QUOTE:
        return this.#readString(index, bytes, at + 1, end);
      case 0x6e:
        return startsWith(bytes, WORDS.null, at) ? this.#mark(index, IS_NULL, at, at + 4, at + 4) : -1;
      case 0x74:
        return startsWith(bytes, WORDS.true, at) ? this.#mark(index, IS_TRUE, at, at + 4, at + 4) : -1;
      case 0x66:
        return startsWith(bytes, WORDS.false, at) ? this.#mark(index, IS_FALSE, at, at + 5, at + 5) : -1;
      default:
        return this.#readInteger(index, bytes, at);
    }
  }

  /** The value as PostgreSQL's text. */
  text(index: number, bytes: Buffer): string | null {
    const start = this.#starts[index] ?? 0;
    const end = this.#ends[index] ?? 0;
    switch (this.#kinds[index]) {
      case IS_DIGITS:
      case IS_PLAIN:
        return bytes.toString('latin1', start, end);
      case IS_WIDE:
        return bytes.toString('utf8', start, end);
      case IS_ESCAPED:
        return JSON.parse(bytes.toString('utf8', start - 1, end + 1)) as string;
      case IS_TRUE:
        return 't';
      case IS_FALSE:
        return 'f';
      default:
        return null;
    }
  }

  /** The values of these columns, of the image from `from` to `end`. */
  texts(columns: readonly string[], bytes: Buffer, from: number, end: number): (string | null)[] {
    // A character of it is a byte, so marks are places in it; only what is plain reads the same.
    const image = end - from > SHORT_IMAGE_BYTES ? null : bytes.toString('latin1', from, end);
    return columns.map((_, index) => {
      const kind = this.#kinds[index];
      if (image === null || (kind !== IS_PLAIN && kind !== IS_DIGITS)) return this.text(index, bytes);
      return image.slice((this.#starts[index] ?? 0) - from, (this.#ends[index] ?? 0) - from);
    });
  }

  /** How many bytes the value takes as it stands. */
  bytesOf(index: number): number {
    return (this.#ends[index] ?? 0) - (this.#starts[index] ?? 0) + 2 * this.#quoteBytes(index);
  }

  /** Copies the value as it stands; returns where it ends. */
  copy(index: number, bytes: Buffer, target: Buffer, at: number): number {
    const quote = this.#quoteBytes(index);
    return copyBytes(bytes, (this.#starts[index] ?? 0) - quote, (this.#ends[index] ?? 0) + quote, target, at);
  }

  /** Copies the value's text, where it stands as it is; returns where it ends, −1 where a text has to be made (`text`). */
  copyText(index: number, bytes: Buffer, target: Buffer, at: number): number {
    if (!this.#isText(index)) return -1;
    return copyBytes(bytes, this.#starts[index] ?? 0, this.#ends[index] ?? 0, target, at);
  }

  /**
   * Copies the value as an element of an array constant, where it stands as one; else as `copyText`. What JSON need not escape in a string
   * needs no escape there either (PostgreSQL: "Array Input and Output Syntax").
   */
  copyElement(index: number, bytes: Buffer, target: Buffer, at: number): number {
    return this.#isText(index) ? this.copy(index, bytes, target, at) : -1;
  }

  /** Its bytes are those of its text. */
  #isText(index: number): boolean {
    const kind = this.#kinds[index] ?? IS_NULL;
    return kind >= IS_DIGITS && kind !== IS_ESCAPED;
  }

  #quoteBytes(index: number): number {
    return (this.#kinds[index] ?? 0) >= IS_PLAIN ? 1 : 0;
  }

  #mark(index: number, kind: number, start: number, end: number, next: number): number {
    this.#kinds[index] = kind;
    this.#starts[index] = start;
    this.#ends[index] = end;
    return next;
  }

  #readString(index: number, bytes: Buffer, start: number, end: number): number {
    let all = 0;
    for (let at = start; at < end; at += 1) {
      const byte = bytes[at] ?? 0;
      all |= byte;
      if (STOPS[byte] === 0) continue;
      if (byte !== QUOTE) return this.#readEscaped(index, bytes, start, at, end);
      return this.#mark(index, all < 0x80 ? IS_PLAIN : IS_WIDE, start, at, at + 1);
    }
    return -1;
  }

  /** Every escape is looked at: a text is made of it later, when a fault could not be told any more. */
  #readEscaped(index: number, bytes: Buffer, start: number, from: number, end: number): number {
    for (let at = from; at < end; at += 1) {
      const byte = bytes[at] ?? 0;
      if (STOPS[byte] === 0) continue;
      if (byte === QUOTE) return this.#mark(index, IS_ESCAPED, start, at, at + 1);
      const more = byte === BACKSLASH ? escapedBytes(bytes, at + 1) : 0;
      if (more === 0) return -1;
      at += more;
    }
    return -1;
  }

  /** Digits as they are: what int2 and int4 print, which is neither `-0` nor `01`. */
  #readInteger(index: number, bytes: Buffer, at: number): number {
    const first = bytes[at] === MINUS ? at + 1 : at;
    let end = first;
    for (let byte = bytes[end] ?? 0; byte >= ZERO && byte <= NINE; byte = bytes[end] ?? 0) end += 1;
    if (end === first || (bytes[first] === ZERO && end > at + 1)) return -1;
    return this.#mark(index, IS_DIGITS, at, end, end);
  }
}

/** Copies bytes from `from` to `end` to `at`; returns where they end. A few are copied before a call of the engine's own has begun. */
export function copyBytes(bytes: Buffer, from: number, end: number, target: Buffer, at: number): number {
  if (end - from > MOST_BY_HAND) bytes.copy(target, at, from, end);
  else for (let index = from; index < end; index += 1) target[at + index - from] = bytes[index] ?? 0;
  return at + end - from;
}

export function startsWith(bytes: Buffer, wanted: Buffer, at: number): boolean {
  for (let index = 0; index < wanted.length; index += 1) if (bytes[at + index] !== wanted[index]) return false;
  return true;
}

/** How many bytes a backslash stands before; 0 where they are no escape. */
function escapedBytes(bytes: Buffer, at: number): number {
  const byte = bytes[at] ?? 0;
  if (ESCAPES.has(byte)) return 1;
  return byte === 0x75 && /^[0-9a-fA-F]{4}$/.test(bytes.toString('latin1', at + 1, at + 5)) ? 5 : 0;
}
