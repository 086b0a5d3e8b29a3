import { copyBytes, type CellMarks } from '#core/cell-marks.ts';

const NULL = Buffer.from('NULL');
const QUOTE = 0x22;
const OPEN = 0x7b;
const CLOSE = 0x7d;
const COMMA = 0x2c;
const LEAST_BYTES = 64;
/** A column's first buffer is no larger, whatever its first value lets expect. */
const MOST_AHEAD = 262_144;
/** Quotes, a comma and the brace at the end. */
const AROUND = 4;

/** Values as an array constant (PostgreSQL: "Array Input and Output Syntax"), in bytes. */
export class ArrayBytes {
  readonly #count: number;
  #bytes: Buffer | null = null;
  #at = 0;

  /** `count`: how many values it will have. */
  constructor(count: number) {
    this.#count = count;
  }

  /** A value where it stands in an image. */
  addCell(marks: CellMarks, index: number, bytes: Buffer): void {
    const target = this.#begin(marks.bytesOf(index));
    const end = marks.copyElement(index, bytes, target, this.#at);
    if (end < 0) this.#putText(marks.text(index, bytes));
    else this.#at = end;
  }

  addText(value: string | null): void {
    this.#begin(0);
    this.#putText(value);
  }

  /** The whole of it, to which nothing can be added any more. */
  end(): Buffer {
    const bytes = this.#reserve(2);
    if (this.#at === 0) bytes[this.#at++] = OPEN;
    bytes[this.#at++] = CLOSE;
    return bytes.subarray(0, this.#at);
  }

  #begin(size: number): Buffer {
    const bytes = this.#reserve(size + AROUND);
    bytes[this.#at] = this.#at === 0 ? OPEN : COMMA;
    this.#at += 1;
    return bytes;
  }

  #putText(value: string | null): void {
    if (value === null) {
      this.#at = copyBytes(NULL, 0, NULL.length, this.#reserve(NULL.length + AROUND), this.#at);
      return;
    }
    const text = escapeElement(value);
    // A UTF-16 unit takes up to three bytes.
    const bytes = this.#reserve(3 * text.length + AROUND);
    bytes[this.#at++] = QUOTE;
    this.#at += bytes.write(text, this.#at);
    bytes[this.#at++] = QUOTE;
  }

  #reserve(more: number): Buffer {
    const needed = this.#at + more;
    if (this.#bytes !== null && needed <= this.#bytes.length) return this.#bytes;
    const ahead = this.#bytes === null ? Math.min(MOST_AHEAD, (more + 1) * this.#count) : 2 * this.#bytes.length;
    const grown = Buffer.allocUnsafe(Math.max(LEAST_BYTES, needed, ahead));
    this.#bytes?.copy(grown, 0, 0, this.#at);
    this.#bytes = grown;
    return grown;
  }
}

/** A value, or a part of one, between the quotes of an element. */
export function escapeElement(value: string): string {
  return /["\\]/.test(value) ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"') : value;
}
