/** Less than this is copied byte by byte in less time than it takes to ask for it. */
const FEW_BYTES = 16;
const ZERO = 0x30;
const BILLION = 1_000_000_000;

/** Bytes that grow at their end. Room is asked for before anything is written: what writes does not look for it. */
export class ByteWriter {
  #bytes: Buffer;
  #at = 0;

  constructor(initialBytes: number) {
    this.#bytes = Buffer.allocUnsafe(initialBytes);
  }

  get length(): number {
    return this.#at;
  }

  /** How many it holds without growing. */
  get capacity(): number {
    return this.#bytes.length;
  }

  /** What was written; a view, which the next `clear` gives up. */
  view(from = 0, end = this.#at): Buffer {
    return this.#bytes.subarray(from, end);
  }

  /** Room for so many more. */
  reserve(more: number): void {
    const needed = this.#at + more;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
    this.#bytes.copy(grown, 0, 0, this.#at);
    this.#bytes = grown;
  }

  /** Leaves the first bytes out of what is written, whatever they are: somebody fills them in later. */
  clear(length = 0): void {
    this.#at = length;
  }

  byte(value: number): void {
    this.#bytes[this.#at++] = value;
  }

  /** A signed number of 32 bits as Kafka's records have them: zig-zag, seven bits a byte, the low ones first. */
  varint(value: number): void {
    let rest = ((value << 1) ^ (value >> 31)) >>> 0;
    while (rest > 127) {
      this.#bytes[this.#at++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    this.#bytes[this.#at++] = rest;
  }

  /** A count of up to 2^53 in decimal digits. */
  decimal(value: number): void {
    if (value >= BILLION) {
      const high = Math.floor(value / BILLION);
      this.decimal(high);
      this.#digits(value - high * BILLION, 9);
    } else this.#digits(value, digitsOf(value));
  }

  #digits(value: number, digits: number): void {
    let rest = value;
    for (let at = this.#at + digits - 1; at >= this.#at; at -= 1) {
      const tenth = (rest / 10) | 0;
      this.#bytes[at] = ZERO + rest - tenth * 10;
      rest = tenth;
    }
    this.#at += digits;
  }

  /** All of them. */
  put(source: Uint8Array): void {
    if (source.length > FEW_BYTES) {
      this.#bytes.set(source, this.#at);
      this.#at += source.length;
    } else this.#copy(source, 0, source.length);
  }

  /** Those from `from` to before `end`. */
  copy(source: Uint8Array, from: number, end: number): void {
    if (end - from > FEW_BYTES) {
      this.#bytes.set(source.subarray(from, end), this.#at);
      this.#at += end - from;
    } else this.#copy(source, from, end);
  }

  /** `bytes` of UTF-8, as Buffer.byteLength counts them. */
  text(text: string, bytes: number): void {
    this.#bytes.write(text, this.#at, bytes, 'utf8');
    this.#at += bytes;
  }

  #copy(source: Uint8Array, from: number, end: number): void {
    const target = this.#bytes;
    let at = this.#at;
    for (let index = from; index < end; index += 1) target[at++] = source[index]!; // up to its length
    this.#at = at;
  }
}

/** Length of `varint`'s bytes. */
export function varintBytes(value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  let bytes = 1;
  while (rest > 127) {
    rest >>>= 7;
    bytes += 1;
  }
  return bytes;
}

function digitsOf(value: number): number {
  let digits = 1;
  for (let limit = 10; value >= limit; limit *= 10) digits += 1;
  return digits;
}
