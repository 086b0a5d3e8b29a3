import type { Envelope } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
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

/** Images are flat, so an object under the name "source" is the envelope's own. @throws RestageError record_invalid. */
export function splitEnvelope(value: Buffer, where: string): EnvelopeText {
  const text = value.toString('utf8');
  const at = text.indexOf(SOURCE);
  const op = text[text.lastIndexOf(OP) + OP.length];
  if (at < 0 || (op !== 'c' && op !== 'u' && op !== 'd' && op !== 'r'))
    throw new RestageError('record_invalid', 'a record is no row event', { where });
  try {
    const { before, after } = JSON.parse(`${text.slice(0, at)}}`) as Pick<Envelope, 'before' | 'after'>;
    return { event: { op, before, after }, tail: text.slice(at) };
  } catch (cause) {
    throw new RestageError('record_invalid', 'an event is not JSON', { where, cause });
  }
}

export function joinEnvelope(event: Omit<RowEvent, 'key'>, tail: string): string {
  const at = tail.lastIndexOf(OP) + OP.length;
  const images = `{"before":${JSON.stringify(event.before)},"after":${JSON.stringify(event.after)}`;
  return `${images}${tail.slice(0, at)}${event.op}${tail.slice(at + 1)}`;
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
