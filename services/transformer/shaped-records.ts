import type { Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import type { ControlEntry } from '#core/manifest.ts';
import { chunkHeaders, type KafkaRecord } from '#core/record.ts';
import type { Branch } from '#core/rules/branch.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import { keyText } from '#core/rules/rows.ts';
import type { ColumnChange } from '#core/structure-change.ts';
import { formatTable } from '#core/table-name.ts';
import type { RecordSink } from '#core/topic-batches.ts';
import { joinEnvelope, opIn } from './envelope-text.ts';

type Truncation = Extract<ControlEntry, { kind: 'truncate' }>;

/** The letter of `op` and what follows it in an envelope. */
const MOST_TAIL = 128;

/** Where a record stands, for messages. */
export function placeOf(topic: string, partition: number, offset: bigint): string {
  return `topic ${topic}, partition ${partition}, offset ${offset}`;
}

/** Key and value byte for byte. */
export function passOn(branch: Branch, key: string | null, bytes: Buffer, headers: Buffer, out: RecordSink): string {
  const { topic } = branch.shaped;
  out.appendRow(topic, key, bytes, headers);
  const op = opIn(bytes.toString('utf8', Math.max(0, bytes.length - MOST_TAIL))) ?? '';
  if (key !== null && op === 'd') out.append(topic, key, null, headers);
  return op;
}

/** An event of a branch, and a delete's tombstone. */
export function appendEvent(
  { shaped }: Branch,
  event: RowEvent,
  tail: string,
  headers: Buffer,
  out: RecordSink,
  where: string,
): void {
  const key = event.key === null ? null : keyText(event.key, shaped.identity.columns);
  if (event.key !== null && key === null)
    throw new RestageError('record_invalid', "an event's key lacks a column of the identity", { where });
  out.appendRow(shaped.topic, key, joinEnvelope(event, tail), headers);
  if (event.op === 'd' && key !== null) out.append(shaped.topic, key, null, headers);
}

/** The constant that a merged table's rows have from one of its sources. */
export function tellApart({ constants, shaped }: Branch, where: string): NonNullable<Truncation['only']> {
  const [first] = constants;
  if (first !== undefined) return { column: first[0], value: first[1] };
  throw new RestageError(
    'rule_failed',
    'a table was truncated that is merged with others, and nothing tells its rows apart',
    {
      where: `${where}; table ${formatTable(shaped)}`,
      fix: 'set a constant column in the rules that merge, such as { column: year, type: int4, value: "2024" }, under the next version of the output',
    },
  );
}

export function changeBehind(change: ColumnChange, before: Branch, after: Branch): ColumnChange[] {
  const branch = change.kind === 'rename' || change.kind === 'drop' ? before : after;
  const column = branch.nameOf(change.column);
  if (column === null) return [];
  if (change.kind !== 'rename') return [{ ...change, column }];
  const to = after.nameOf(change.to) ?? change.to;
  return to === column ? [] : [{ ...change, column, to }];
}

export function chunkHeadersOf(record: KafkaRecord, branch: Branch, where: string): Buffer {
  const chunk = record.headers.get('chunk');
  const row = record.headers.get('row');
  if (chunk?.length !== 4 || row?.length !== 8)
    throw new RestageError('record_invalid', 'a record lacks the headers of an event', { where });
  return chunkHeaders(chunk.readUInt32BE(), Number(row.readBigUInt64BE()), 0, branch.version);
}

export function parseKey(key: string, where: string): Row {
  try {
    return JSON.parse(key) as Row;
  } catch (cause) {
    throw new RestageError('record_invalid', "an event's key is not JSON", { where, cause });
  }
}
