import type { Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import { FixedHeaders } from '#core/fixed-headers.ts';
import { readOp } from '#core/image-scanner.ts';
import type { ControlEntry } from '#core/manifest.ts';
import type { Partitioner } from '#core/partitioner.ts';
import { chunkHeaders, readStreamHeaders, streamHeaders, valueRangeOf, type KafkaRecord } from '#core/record.ts';
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

interface PassedRecord {
  readonly key: Buffer | null;
  readonly bytes: Buffer;
  readonly headers: Buffer;
  readonly partition: number;
}

/** Key and value byte for byte. */
export function passOn(branch: Branch, { key, bytes, headers, partition }: PassedRecord, out: RecordSink): string {
  const { topic } = branch.shaped;
  out.appendRow(topic, key, bytes, headers, partition);
  const op =
    readOp(bytes, 0, bytes.length) ?? opIn(bytes.toString('utf8', Math.max(0, bytes.length - MOST_TAIL))) ?? '';
  if (key !== null && op === 'd') out.append(topic, key, null, headers, partition);
  return op;
}

/** An envelope behind a branch that only copies values; null where it must be taken apart. The key stays as it is. */
export function copyOf(record: KafkaRecord, { copier, shaped }: Branch): Buffer | null {
  if (copier === null || (record.key === null) !== (shaped.identity.columns.length === 0)) return null;
  const envelope = valueRangeOf(record);
  return envelope === null ? null : copier.copy(envelope);
}

interface EventFacts {
  /** The envelope's, from its source block on. */
  readonly tail: string;
  readonly headers: Buffer;
  readonly partitionOf: Partitioner;
  readonly where: string;
}

/** An event of a branch, and a delete's tombstone. */
export function appendEvent(
  { shaped }: Branch,
  event: RowEvent,
  { tail, headers, partitionOf, where }: EventFacts,
  out: RecordSink,
): void {
  const key = event.key === null ? null : keyText(event.key, shaped.identity.columns);
  if (event.key !== null && key === null)
    throw new RestageError('record_invalid', "an event's key lacks a column of the identity", { where });
  const partition = partitionOf(key);
  out.appendRow(shaped.topic, key, joinEnvelope(event, tail), headers, partition);
  if (event.op === 'd' && key !== null) out.append(shaped.topic, key, null, headers, partition);
}

/** Whether it gives a row another key than it had. */
export function isKeyChange({ shaped }: Branch, { op, key, before }: RowEvent): boolean {
  if (op !== 'u' || key === null || before === null) return false;
  const { columns } = shaped.identity;
  return keyText(before, columns) !== keyText(key, columns);
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

/** A record's headers with the structure behind a branch. One buffer, reused: copy it out before the next call. */
export function headersOf(record: KafkaRecord, branch: Branch, place: () => string): Buffer {
  if (record.headers instanceof FixedHeaders) return record.headers.encode(branch.version);
  const headers = readStreamHeaders(record);
  return headers === null
    ? chunkHeadersOf(record, branch, place)
    : streamHeaders({ ...headers, structure: branch.version });
}

function chunkHeadersOf(record: KafkaRecord, branch: Branch, place: () => string): Buffer {
  const chunk = record.headers.get('chunk');
  const row = record.headers.get('row');
  if (chunk?.length !== 4 || row?.length !== 8)
    throw new RestageError('record_invalid', 'a record lacks the headers of an event', { where: place() });
  return chunkHeaders(chunk.readUInt32BE(), Number(row.readBigUInt64BE()), 0, branch.version);
}

export function parseKey(key: string, where: string): Row {
  try {
    return JSON.parse(key) as Row;
  } catch (cause) {
    throw new RestageError('record_invalid', "an event's key is not JSON", { where, cause });
  }
}
