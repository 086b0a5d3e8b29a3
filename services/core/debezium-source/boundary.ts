import type { KafkaRecord } from '#core/record.ts';
import { badRecord, type RecordPlace } from './bad-record.ts';
import type { ReadDatum } from './event.ts';
import { entriesOf, integerOf, listOf, textOf, type WireValue } from './wire-value.ts';

/** The end of a transaction, as Debezium's transaction topic says it. */
export interface TransactionEnd extends RecordPlace {
  readonly xid: string;
  /** Of the commit: grows from one transaction to the next, and is the same when one is told again. */
  readonly lsn: bigint;
  /** Microseconds since 1970. */
  readonly micros: bigint;
  /** Events of each table, by Debezium's `schema.table`. */
  readonly counts: ReadonlyMap<string, bigint>;
}

/** null for BEGIN and tombstones. @throws RestageError record_invalid. */
export function readBoundary(topic: string, record: KafkaRecord, read: ReadDatum): TransactionEnd | null {
  const place: RecordPlace = { topic, partition: 0, offset: record.offset };
  if (record.value === null) return null;
  let value: WireValue;
  try {
    ({ value } = read(record.value));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw badRecord(place, `its value: ${error.message}`);
  }
  const fields = entriesOf(value);
  const status = textOf(fields?.get('status'));
  if (fields === null || (status !== 'BEGIN' && status !== 'END'))
    throw badRecord(place, 'it is neither BEGIN nor END');
  if (status === 'BEGIN') return null;
  const match = /^([^:]+):(\d{1,20})$/.exec(textOf(fields.get('id')) ?? '');
  if (match === null) throw badRecord(place, "its id is not PostgreSQL's, a transaction's number and LSN");
  const [, xid = '', lsn = ''] = match;
  const micros = (integerOf(fields.get('ts_ms')) ?? 0n) * 1_000n;
  return { ...place, xid, lsn: BigInt(lsn), micros, counts: countsOf(place, fields.get('data_collections') ?? null) };
}

function countsOf(place: RecordPlace, value: WireValue): ReadonlyMap<string, bigint> {
  const counts = new Map<string, bigint>();
  for (const one of listOf(value) ?? []) {
    const [collection, count] = [
      textOf(entriesOf(one)?.get('data_collection')),
      integerOf(entriesOf(one)?.get('event_count')),
    ];
    if (collection === null || count === null) throw badRecord(place, 'its counts of events are not whole');
    counts.set(collection, count);
  }
  return counts;
}

/** Debezium's name of a table's topic under a prefix: what Kafka does not allow becomes `_`. */
export function collectionTopic(prefix: string, collection: string): string {
  return `${prefix}.${collection}`.replaceAll(/[^A-Za-z0-9._-]/g, '_');
}

/** topic.prefix, of the transaction topic's name. */
export function prefixOf(transactionTopic: string): string {
  return transactionTopic.slice(0, Math.max(0, transactionTopic.lastIndexOf('.')));
}
