const BACKSLASH = 0x5c;
const NULL_LETTER = 0x4e;
const ESCAPES: Readonly<Record<number, number>> = { 0x62: 8, 0x66: 12, 0x6e: 10, 0x72: 13, 0x74: 9, 0x76: 11 };

/** Makes a row of the line between `from` and `end`; those bytes are not its own. */
export type ReadLine<Row> = (data: Buffer, from: number, end: number) => Row;

/**
 * Rows of COPY's text format (PostgreSQL: "COPY", File Formats, Text Format): one line a row, tabs between, `\N` for
 * NULL. Feed it chunks cut anywhere; it keeps an unfinished line for the next.
 */
export class CopyTextSplitter<Row> {
  readonly #readLine: ReadLine<Row>;
  /** The unfinished line as it came: a large row is put together once. */
  #rest: Buffer[] = [];

  constructor(readLine: ReadLine<Row>) {
    this.#readLine = readLine;
  }

  /** The rows that end in this chunk. */
  split(chunk: Buffer): Row[] {
    const rows: Row[] = [];
    let from = 0;
    for (let end = chunk.indexOf(10, from); end >= 0; end = chunk.indexOf(10, from)) {
      rows.push(this.#rest.length === 0 ? this.#readLine(chunk, from, end) : this.#endLine(chunk.subarray(from, end)));
      from = end + 1;
    }
    if (from < chunk.length) this.#rest.push(chunk.subarray(from));
    return rows;
  }

  /** Bytes of an unfinished line: 0 at a proper end. */
  get pending(): number {
    return this.#rest.reduce((sum, { length }) => sum + length, 0);
  }

  #endLine(last: Buffer): Row {
    const line = Buffer.concat([...this.#rest, last]);
    this.#rest = [];
    return this.#readLine(line, 0, line.length);
  }
}

/** A row as texts. A line without columns has one that is empty, as one empty text has. */
export function readTexts(data: Buffer, from: number, end: number): (string | null)[] {
  const hasEscapes = data.subarray(from, end).includes(BACKSLASH);
  const fields: (string | null)[] = [];
  let start = from;
  for (;;) {
    let tab = data.indexOf(9, start);
    if (tab < 0 || tab > end) tab = end;
    fields.push(hasEscapes ? unescapeField(data, start, tab) : data.toString('utf8', start, tab));
    if (tab === end) return fields;
    start = tab + 1;
  }
}

/** Writes the text of the field between `from` and `end` to `at`, where it takes no more than it does here; returns where it ends, −1 for NULL. */
export function copyField(data: Buffer, from: number, end: number, target: Buffer, at: number): number {
  if (end - from === 2 && data[from] === BACKSLASH && data[from + 1] === NULL_LETTER) return -1;
  let to = at;
  for (let index = from; index < end; index += 1) {
    const byte = data[index]!; // index < end <= length
    if (byte === BACKSLASH && index + 1 < end) {
      index += 1;
      const escaped = data[index]!; // checked above
      target[to++] = ESCAPES[escaped] ?? escaped;
    } else target[to++] = byte;
  }
  return to;
}

function unescapeField(data: Buffer, from: number, end: number): string | null {
  const first = data.indexOf(BACKSLASH, from);
  if (first < 0 || first >= end) return data.toString('utf8', from, end);
  const plain = Buffer.allocUnsafe(end - from);
  const length = copyField(data, from, end, plain, 0);
  return length < 0 ? null : plain.toString('utf8', 0, length);
}
