import type { ScannedImage } from '#core/image-scanner.ts';

const NEEDS_ESCAPE = /[\\\t\n\r]/;
const BUFFER_BYTES = 65_536;
const TAB = 0x09;
const NEWLINE = 0x0a;
const NULL = Buffer.from('\\N');

/** Rows in COPY's text format (PostgreSQL: "COPY", Text Format) as bytes, taken out when there are enough of them. */
export class CopyBuffer {
  #bytes = Buffer.allocUnsafe(BUFFER_BYTES);
  #at = 0;

  get isEmpty(): boolean {
    return this.#at === 0;
  }

  get isFull(): boolean {
    return this.#at >= BUFFER_BYTES / 2;
  }

  /** What was added since; a buffer that nobody writes to any more. */
  take(): Buffer {
    const taken = this.#bytes.subarray(0, this.#at);
    this.#bytes = Buffer.allocUnsafe(BUFFER_BYTES);
    this.#at = 0;
    return taken;
  }

  add(row: readonly (string | null)[]): void {
    const text = encodeRow(row);
    // A UTF-16 unit takes up to three bytes.
    this.#reserve(text.length * 3);
    this.#at += this.#bytes.write(text, this.#at);
  }

  /** The same row as its texts are: what needs no escape is copied as it stands, and no text is made of it. False where texts are all there is. */
  addImage(image: ScannedImage): boolean {
    const found = image.find();
    if (found === null) return false;
    const { marks, bytes, size } = found;
    const count = image.size;
    // An escape of JSON is as long as COPY's, or longer; a row ends, and NULL stands for null.
    this.#reserve(size + count + 1);
    for (let index = 0; index < count; index += 1) {
      if (index > 0) this.#bytes[this.#at++] = TAB;
      const end = marks.copyText(index, bytes, this.#bytes, this.#at);
      this.#at = end < 0 ? this.#addValue(marks.text(index, bytes)) : end;
    }
    this.#bytes[this.#at++] = NEWLINE;
    return true;
  }

  #addValue(value: string | null): number {
    if (value === null) return this.#at + NULL.copy(this.#bytes, this.#at);
    return this.#at + this.#bytes.write(escapeText(value), this.#at);
  }

  #reserve(more: number): void {
    const needed = this.#at + more;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.#bytes.length));
    this.#bytes.copy(grown, 0, 0, this.#at);
    this.#bytes = grown;
  }
}

function encodeRow(row: readonly (string | null)[]): string {
  let line = '';
  for (let index = 0; index < row.length; index += 1) {
    if (index > 0) line += '\t';
    const value = row[index];
    line += value === null || value === undefined ? '\\N' : escapeText(value);
  }
  return `${line}\n`;
}

/** A value, or a part of one, as COPY reads it. */
export function escapeText(value: string): string {
  if (!NEEDS_ESCAPE.test(value)) return value;
  return value.replaceAll('\\', '\\\\').replaceAll('\t', '\\t').replaceAll('\n', '\\n').replaceAll('\r', '\\r');
}
