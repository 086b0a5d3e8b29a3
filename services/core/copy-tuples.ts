import { copyField, readTexts } from '#core/copy-text.ts';
import { KIND_AND_LENGTH, LARGE_TUPLE_BYTES, NULL_KIND, TEXT_KIND, WireTuple, type SentTuple } from '#core/tuple.ts';

const TAB = 9;
/** Rows of about so many bytes share one buffer, which is there as long as one of them is. */
const SLAB_BYTES = 65_536;

/** Rows of a load as the stream would bring them: of a line of COPY's text format it makes the tuple of a replication message, without a text for any value. */
export class CopyTuples {
  readonly #columns: number;
  #slab: Buffer = Buffer.alloc(0);
  #at = 0;

  /** `columns`: how many values each line has. */
  constructor(columns: number) {
    this.#columns = columns;
  }

  read(data: Buffer, from: number, end: number): SentTuple {
    if (this.#columns === 0) return [];
    return end - from > LARGE_TUPLE_BYTES ? readTexts(data, from, end) : this.#readTuple(data, from, end);
  }

  #readTuple(data: Buffer, from: number, end: number): WireTuple {
    this.#reserve(end - from + KIND_AND_LENGTH * this.#columns);
    const slab = this.#slab;
    const start = this.#at;
    let to = start;
    let field = from;
    for (let left = this.#columns; left > 0; left -= 1) {
      let tab = field;
      while (tab < end && data[tab] !== TAB) tab += 1;
      to = writeValue(data, field, tab, slab, to);
      field = tab + 1;
    }
    if (field !== end + 1) throw new RangeError(`a line of COPY has not ${this.#columns} values`);
    this.#at = to;
    return new WireTuple(slab, start, to, this.#columns);
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#slab.length) return;
    this.#slab = Buffer.allocUnsafe(Math.max(SLAB_BYTES, bytes));
    this.#at = 0;
  }
}

function writeValue(data: Buffer, from: number, end: number, slab: Buffer, at: number): number {
  const text = at + KIND_AND_LENGTH;
  const after = copyField(data, from, end, slab, text);
  if (after < 0) {
    slab[at] = NULL_KIND;
    return at + 1;
  }
  slab[at] = TEXT_KIND;
  slab.writeUInt32BE(after - text, at + 1);
  return after;
}
