import type { Cell, Envelope, Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import { readFlatObject } from '#core/flat-json.ts';
import { joinTexts, jsonParts, LONG_CHARACTERS, LongText, type Text } from '#core/long-text.ts';
import type { Lsn } from '#core/lsn.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import type { TableName } from '#core/table-name.ts';
import { VERSION } from '#core/version.ts';

/** An envelope taken apart without touching what follows the images: its times have more digits than a JavaScript number. */
export interface EnvelopeText {
  readonly event: Omit<RowEvent, 'key'>;
  /** From `,"source":` on. */
  readonly tail: string;
}

const SOURCE = ',"source":{';
const OP = '"op":"';

const HEAD = '{"before":';
const AFTER = ',"after":';
/** Above this no text is made of the envelope but of its images, whose values point into it. */
const LARGE_BYTES = 1024 * 1024;

/** Images are flat, so an object under the name "source" is the envelope's own. @throws RestageError record_invalid. */
export function splitEnvelope(value: Buffer, where: string): EnvelopeText {
  const isLarge = value.length > LARGE_BYTES;
  const at = isLarge ? value.indexOf(SOURCE) : 0;
  const text = isLarge ? value.toString('utf8', Math.max(at, 0)) : value.toString('utf8');
  const from = text.indexOf(SOURCE);
  const op = opIn(text);
  if (from < 0 || at < 0 || (op !== 'c' && op !== 'u' && op !== 'd' && op !== 'r'))
    throw new RestageError('record_invalid', 'a record is no row event', { where });
  try {
    const { before, after } = isLarge
      ? readLargeImages(value.toString('utf8', 0, at))
      : readImages(text.slice(0, from));
    return { event: { op, before, after }, tail: text.slice(from) };
  } catch (cause) {
    throw new RestageError('record_invalid', 'an event is not JSON', { where, cause });
  }
}

/** The letter of `op`, which stands last in an envelope but for its times. */
export function opIn(text: string): string | undefined {
  return text[text.lastIndexOf(OP) + OP.length];
}

type Images = Pick<Envelope, 'before' | 'after'>;

function readImages(text: string): Images {
  return JSON.parse(`${text}}`) as Images;
}

/** What is written as Restage's services write it; anything else goes to the parser, which holds every value once more. */
function readLargeImages(text: string): Images {
  const before = text.startsWith(HEAD) ? readFlatObject(text, HEAD.length) : null;
  if (before === null || !text.startsWith(AFTER, before.end)) return readImages(text);
  const after = readFlatObject(text, before.end + AFTER.length);
  if (after === null || after.end !== text.length) return readImages(text);
  return { before: before.value, after: after.value };
}

export function joinEnvelope(event: Omit<RowEvent, 'key'>, tail: string): Text {
  const at = tail.lastIndexOf(OP) + OP.length;
  const end = `${tail.slice(0, at)}${event.op}${tail.slice(at + 1)}`;
  return joinTexts([HEAD, rowText(event.before), AFTER, rowText(event.after), end]);
}

function rowText(row: Row | null): Text {
  if (row === null || !hasLong(row)) return JSON.stringify(row);
  const parts: string[] = [];
  for (const [name, cell] of Object.entries(row)) {
    parts.push(`${parts.length === 0 ? '{' : ','}${JSON.stringify(name)}:`);
    parts.push(...(isLong(cell) ? jsonParts(cell) : [JSON.stringify(cell)]));
  }
  return new LongText([...parts, '}']);
}

function hasLong(row: Row): boolean {
  for (const name in row) if (isLong(row[name] ?? null)) return true;
  return false;
}

function isLong(cell: Cell): cell is string {
  return typeof cell === 'string' && cell.length > LONG_CHARACTERS;
}

/** Where and when something happened of which there is no event. */
export interface TailPlace {
  /** Of the table's raw events. */
  readonly topic: string;
  readonly table: TableName;
  readonly commit: Lsn;
  /** Microseconds since 1970. */
  readonly time: bigint;
}

/** The tail of an event that no record of the source tells of, such as what a TRUNCATE of another table does to a row. */
export function makeTail({ topic, table, commit, time }: TailPlace): string {
  const times = `"ts_ms":${time / 1000n},"ts_us":${time},"ts_ns":${time * 1000n}`;
  const [name] = topic.split('.');
  const head = `"version":${JSON.stringify(VERSION)},"connector":"restage","name":${JSON.stringify(name)},${times},"snapshot":"false"`;
  const sequence = JSON.stringify(JSON.stringify([String(commit), String(commit)]));
  const where = `"db":"","sequence":${sequence},"schema":${JSON.stringify(table.schema)},"table":${JSON.stringify(table.table)}`;
  return `,"source":{${head},${where},"txId":null,"lsn":${commit},"xmin":null,"origin":null},"transaction":null,"op":"u",${times}}`;
}

const SOURCE_MICROS = /"ts_us":(\d+)/;

/** When the event's transaction was committed, or its row read: microseconds since 1970. */
export function timeIn(tail: string): bigint {
  return BigInt(SOURCE_MICROS.exec(tail)?.[1] ?? '0');
}
