import { ColumnList, RowImage } from '#core/row-image.ts';
import type { TableStructure } from '#core/structure.ts';

/** What stands in an envelope besides its tail, which no image's text can hold: a quote in a string is escaped. */
const SOURCE = Buffer.from(',"source":{');
const HEAD = '{"before":';
const AFTER = ',"after":';
const OP = Buffer.from('"op":"');
/** From the letter of `op` to the end: its quote and three times in digits. */
const LEAST_TAIL = 40;
const MOST_TAIL = 90;

export interface ScannedEnvelope {
  readonly op: string;
  readonly before: RowImage | null;
  readonly after: RowImage | null;
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

/**
 * Reads the images of envelopes in profile `lossless` as Restage's services write them: no spaces, columns in the structure's order. It
 * knows where a value begins, so nothing is parsed twice and no object is made for a row. Anything that is written otherwise it leaves to a parser of JSON.
 */
export class ImageScanner {
  readonly #names: readonly string[];
  /** `"name":`, as JSON. */
  readonly #heads: readonly string[];
  /** The same behind a comma. */
  readonly #nextHeads: readonly string[];
  readonly #lists = new Map<string, ColumnList>();
  /** By the indexes of the columns that are absent. */
  readonly #partial = new Map<string, ColumnList>();
  readonly #all: ColumnList;
  readonly #identity: ColumnList;

  constructor(structure: TableStructure) {
    this.#names = structure.columns.map(({ name }) => name);
    this.#heads = this.#names.map((name) => `${JSON.stringify(name)}:`);
    this.#nextHeads = this.#heads.map((head) => `,${head}`);
    this.#all = this.#listOf(this.#names);
    this.#identity = this.#listOf(structure.identity.columns);
  }

  /** null where it is written in another way. */
  scan(value: Buffer): ScannedEnvelope | null {
    const end = value.indexOf(SOURCE);
    const op = end < 0 ? null : readOp(value);
    if (op === null) return null;
    const text = value.toString('utf8', 0, end);
    if (!text.startsWith(HEAD)) return null;
    const cursor = { text, at: HEAD.length };
    const before = this.#image(cursor);
    if (before === undefined || !text.startsWith(AFTER, cursor.at)) return null;
    cursor.at += AFTER.length;
    const after = this.#image(cursor);
    return after === undefined || cursor.at !== text.length ? null : { op, before, after };
  }

  /** The values of the identity; null where one of them is missing. */
  identityOf(image: RowImage): RowImage | null {
    const texts: (string | null)[] = [];
    for (const name of this.#identity.names) {
      const index = image.columns.indexOf(name);
      if (index < 0) return null;
      texts.push(image.texts[index] ?? null);
    }
    return new RowImage(this.#identity, texts);
  }

  /** undefined where it is written in another way. */
  #image(cursor: Cursor): RowImage | null | undefined {
    if (cursor.text.startsWith('null', cursor.at)) {
      cursor.at += 4;
      return null;
    }
    if (cursor.text[cursor.at] !== '{') return undefined;
    cursor.at += 1;
    const texts: (string | null)[] = [];
    let absent: number[] | null = null;
    for (let index = 0; index < this.#heads.length; index += 1) {
      const head = texts.length === 0 ? this.#heads[index] : this.#nextHeads[index];
      if (head === undefined || !cursor.text.startsWith(head, cursor.at)) {
        absent ??= [];
        absent.push(index);
        continue;
      }
      cursor.at += head.length;
      const cell = readCell(cursor);
      if (cell === undefined) return undefined;
      texts.push(cell);
    }
    if (cursor.text[cursor.at] !== '}') return undefined;
    cursor.at += 1;
    return new RowImage(absent === null ? this.#all : this.#without(absent), texts);
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

interface Cursor {
  readonly text: string;
  at: number;
}

/** The letter of `op`, which stands before the times at the end. */
function readOp(value: Buffer): string | null {
  const from = value.length - MOST_TAIL;
  const found = value.indexOf(OP, Math.max(0, from));
  const at = found + OP.length;
  const isThere = found >= 0 && at < value.length - LEAST_TAIL && value[at + 1] === 0x22;
  return isThere && value[value.length - 1] === 0x7d ? String.fromCharCode(value[at] ?? 0) : null;
}

/** A value as PostgreSQL's text; undefined where it is none of ours. */
function readCell(cursor: Cursor): string | null | undefined {
  const { text, at } = cursor;
  switch (text.charCodeAt(at)) {
    case 0x22:
      return readString(cursor);
    case 0x6e:
      return readWord(cursor, 'null', null);
    case 0x74:
      return readWord(cursor, 'true', 't');
    case 0x66:
      return readWord(cursor, 'false', 'f');
    default:
      return readInteger(cursor);
  }
}

function readWord(cursor: Cursor, word: string, meaning: string | null): string | null | undefined {
  if (!cursor.text.startsWith(word, cursor.at)) return undefined;
  cursor.at += word.length;
  return meaning;
}

function readString(cursor: Cursor): string | undefined {
  const { text, at } = cursor;
  const end = text.indexOf('"', at + 1);
  if (end < 0) return undefined;
  const plain = text.slice(at + 1, end);
  if (!plain.includes('\\')) {
    cursor.at = end + 1;
    return plain;
  }
  return readEscaped(cursor);
}

/** The string's end is the first quote that an even number of backslashes stands before. */
function readEscaped(cursor: Cursor): string | undefined {
  const { text, at } = cursor;
  for (let end = text.indexOf('"', at + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === 0x5c) slashes += 1;
    if (slashes % 2 === 1) continue;
    cursor.at = end + 1;
    try {
      return JSON.parse(text.slice(at, end + 1)) as string;
    } catch {
      return undefined;
    }
  }
  return undefined;
}

/** Digits as they are: what int2 and int4 print. */
function readInteger(cursor: Cursor): string | undefined {
  const { text, at } = cursor;
  let end = text.charCodeAt(at) === 0x2d ? at + 1 : at;
  const first = end;
  for (let code = text.charCodeAt(end); code >= 0x30 && code <= 0x39; code = text.charCodeAt(end)) end += 1;
  if (end === first || (text.charCodeAt(first) === 0x30 && end > first + 1)) return undefined;
  cursor.at = end;
  return text.slice(at, end);
}
