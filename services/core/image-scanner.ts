import { CellMarks, startsWith } from '#core/cell-marks.ts';
import type { ByteRange } from '#core/record.ts';
import { ColumnList, RowImage, TextImage } from '#core/row-image.ts';
import type { TableStructure } from '#core/structure.ts';

const HEAD = Buffer.from('{"before":');
const AFTER = Buffer.from(',"after":');
/** What stands in an envelope behind its images. */
const SOURCE = Buffer.from(',"source":{');
const OP = Buffer.from('"op":"');
const NULL = Buffer.from('null');
const QUOTE = 0x22;
const OPEN = 0x7b;
const CLOSE = 0x7d;
/** From `op` to the end: its letter and three times in digits. */
const LEAST_TAIL = 46;
const MOST_TAIL = 90;

export interface ScannedEnvelope {
  readonly op: string;
  readonly before: ScannedImage | null;
  readonly after: ScannedImage | null;
}

/** Scanners are made once a structure, and hold the lists of columns that came. */
const SCANNERS = new WeakMap<TableStructure, ImageScanner>();

export function scannerOf(structure: TableStructure): ImageScanner {
  const known = SCANNERS.get(structure);
  if (known !== undefined) return known;
  const made = new ImageScanner(structure);
  SCANNERS.set(structure, made);
  return made;
}

/** A row's image of which only the identity is read, until somebody asks for other values: many rows change again before they are applied. */
export class ScannedImage extends RowImage {
  readonly columns: ColumnList;
  /** The values of the identity; null where one of them is missing. */
  readonly identity: RowImage | null;
  readonly #scanner: ImageScanner;
  #bytes: Buffer | null;
  readonly #from: number;
  readonly #end: number;
  #texts: readonly (string | null)[] | null = null;

  constructor(scanner: ImageScanner, columns: ColumnList, identity: RowImage | null, { bytes, from, end }: ByteRange) {
    super();
    this.#scanner = scanner;
    this.columns = columns;
    this.identity = identity;
    this.#bytes = bytes;
    this.#from = from;
    this.#end = end;
  }

  /** How many bytes it takes as JSON. */
  get bytes(): number {
    return this.#end - this.#from;
  }

  get texts(): readonly (string | null)[] {
    if (this.#texts !== null) return this.#texts;
    const texts = this.#bytes === null ? [] : this.#scanner.texts(this.#bytes, this.#from, this.#end);
    this.#texts = texts;
    // A large row is not there twice for longer than that takes (invariant 6).
    this.#bytes = null;
    return texts;
  }

  /** Where its values stand, until the scanner walks another image; null where texts were made of them already. */
  find(): { readonly marks: CellMarks; readonly bytes: Buffer; readonly size: number } | null {
    const bytes = this.#bytes;
    if (bytes === null || !this.#scanner.walk(bytes, this.#from, this.#end)) return null;
    return { marks: this.#scanner.marks, bytes, size: this.#end - this.#from };
  }

  override get(name: string): string | null | undefined {
    return this.identity?.get(name) ?? super.get(name);
  }
}

/**
 * Finds the images of envelopes in profile `lossless` as Restage's services write them: no spaces, columns in the structure's order. It
 * knows where a value begins, so nothing is parsed twice and no object is made for a row. Anything that is written otherwise it leaves to a parser of JSON.
 */
export class ImageScanner {
  readonly #names: readonly string[];
  /** `"name":`, as JSON. */
  readonly #heads: readonly Buffer[];
  /** The same behind a comma. */
  readonly #nextHeads: readonly Buffer[];
  readonly #lists = new Map<string, ColumnList>();
  /** By the indexes of the columns that are absent. */
  readonly #partial = new Map<string, ColumnList>();
  readonly #all: ColumnList;
  readonly #identity: ColumnList;
  /** Of the image that was walked last. */
  readonly marks: CellMarks;
  #end = 0;
  #columns: ColumnList;

  constructor(structure: TableStructure) {
    this.#names = structure.columns.map(({ name }) => name);
    this.#heads = this.#names.map((name) => Buffer.from(`${JSON.stringify(name)}:`));
    this.#nextHeads = this.#heads.map((head) => Buffer.concat([Buffer.from(','), head]));
    this.#all = this.#listOf(this.#names);
    this.#identity = this.#listOf(structure.identity.columns);
    this.marks = new CellMarks(this.#names.length);
    this.#columns = this.#all;
  }

  /** null where it is written in another way. */
  scan({ bytes, from, end }: ByteRange): ScannedEnvelope | null {
    if (!startsWith(bytes, HEAD, from)) return null;
    const before = this.#image(bytes, from + HEAD.length, end);
    if (before === undefined || !startsWith(bytes, AFTER, this.#end)) return null;
    const after = this.#image(bytes, this.#end + AFTER.length, end);
    if (after === undefined || this.#end > end - SOURCE.length || !startsWith(bytes, SOURCE, this.#end)) return null;
    const op = readOp(bytes, this.#end, end);
    return op === null ? null : { op, before, after };
  }

  /** Where the image that was walked last ends. */
  get end(): number {
    return this.#end;
  }

  /** The values of an image that was found there. */
  texts(bytes: Buffer, from: number, end: number): (string | null)[] {
    return this.walk(bytes, from, end) ? this.marks.texts(this.#columns.names, bytes, from, end) : [];
  }

  /** undefined where it is written in another way. */
  #image(bytes: Buffer, from: number, end: number): ScannedImage | null | undefined {
    if (bytes[from] !== OPEN && startsWith(bytes, NULL, from)) {
      this.#end = from + NULL.length;
      return null;
    }
    if (!this.walk(bytes, from, end)) return undefined;
    return new ScannedImage(this, this.#columns, this.#readIdentity(bytes), { bytes, from, end: this.#end });
  }

  /** Marks its values; false where it is written in another way. */
  walk(bytes: Buffer, from: number, end: number): boolean {
    if (bytes[from] !== OPEN) return false;
    let at = from + 1;
    let found = 0;
    let absent: number[] | null = null;
    for (let index = 0; index < this.#heads.length; index += 1) {
      const head = found === 0 ? this.#heads[index] : this.#nextHeads[index];
      if (head === undefined || !startsWith(bytes, head, at)) {
        absent ??= [];
        absent.push(index);
        continue;
      }
      at = this.marks.read(found, bytes, at + head.length, end);
      if (at < 0) return false;
      found += 1;
    }
    if (bytes[at] !== CLOSE) return false;
    this.#end = at + 1;
    this.#columns = absent === null ? this.#all : this.#without(absent);
    return true;
  }

  /** Of the image that was walked last. */
  #readIdentity(bytes: Buffer): RowImage | null {
    const { names } = this.#identity;
    const columns = this.#columns;
    if (columns !== this.#all && names.some((name) => columns.indexOf(name) < 0)) return null;
    const texts = names.map((name) => this.marks.text(columns.indexOf(name), bytes));
    return new TextImage(this.#identity, texts);
  }

  #without(absent: readonly number[]): ColumnList {
    const key = absent.join(',');
    const known = this.#partial.get(key);
    if (known !== undefined) return known;
    const made = this.#listOf(this.#names.filter((_, index) => !absent.includes(index)));
    this.#partial.set(key, made);
    return made;
  }

  #listOf(names: readonly string[]): ColumnList {
    const key = names.join('\u0000');
    const known = this.#lists.get(key);
    if (known !== undefined) return known;
    const made = new ColumnList(names);
    this.#lists.set(key, made);
    return made;
  }
}

/** The letter of an envelope's `op`, which stands before the times at the end; null where it does not. */
export function readOp(bytes: Buffer, from: number, end: number): string | null {
  if (bytes[end - 1] !== CLOSE) return null;
  for (let at = Math.max(from, end - MOST_TAIL); at < end - LEAST_TAIL; at += 1) {
    if (!startsWith(bytes, OP, at)) continue;
    const letter = at + OP.length;
    return bytes[letter + 1] === QUOTE ? String.fromCharCode(bytes[letter] ?? 0) : null;
  }
  return null;
}
