import type { KafkaRecord } from '#core/record.ts';
import type { TableName } from '#core/table-name.ts';
import { badRecord, type RecordPlace } from './bad-record.ts';
import { entriesOf, integerOf, textOf, type WireDatum, type WireSchema, type WireValue } from './wire-value.ts';

export type Struct = ReadonlyMap<string, WireValue>;

/** A row or key with its struct's schema; null where records carry none. */
export interface StructDatum {
  readonly values: Struct;
  readonly schema: WireSchema | null;
}

/** Where in the WAL an event is, as Debezium knows it: the last commit before its transaction, and its own LSN. */
export interface EventPlace {
  readonly lastCommit: bigint | null;
  readonly lsn: bigint;
}

export interface TransactionBlock {
  readonly xid: string;
  /** Counted from 1 over all tables, and over this one. */
  readonly order: bigint;
  readonly collectionOrder: bigint;
}

/** A change of a table's row, or its TRUNCATE (`t`), as Debezium's envelope says it. */
export interface SourceEvent extends RecordPlace {
  readonly op: 'c' | 'r' | 'u' | 'd' | 't';
  readonly table: TableName;
  readonly before: StructDatum | null;
  readonly after: StructDatum | null;
  /** null for a table without key, and for TRUNCATE. */
  readonly key: StructDatum | null;
  /** source.name: the connector's topic.prefix. */
  readonly server: string;
  /** source.snapshot: `false` in the stream. */
  readonly snapshot: string;
  /** null for rows of an incremental snapshot. */
  readonly place: EventPlace | null;
  /** When it was committed, or read. Microseconds since 1970. */
  readonly micros: bigint;
  readonly transaction: TransactionBlock | null;
  /** A delete whose row comes back under a new key, or a create that had an old one. */
  readonly isMoved: boolean;
}

/** null: nothing for a table, as tombstones, heartbeats and messages are. */
export type ReadEvent = (record: KafkaRecord) => SourceEvent | null;

/** A record's key by itself, where the rest cannot be read; null where it cannot be read either. */
export type ReadKey = (record: KafkaRecord) => StructDatum | null;

export type ReadDatum = (bytes: Buffer) => WireDatum;

const OPS: ReadonlySet<string> = new Set(['c', 'r', 'u', 'd', 't']);
const BESIDE = /(^|\.)(Heartbeat|TransactionMetadataValue|Notification|SchemaChangeValue|MessageValue)$/;
const MOVED = { d: '__debezium.newkey', c: '__debezium.oldkey' } as const;

/** Reads a data topic's records, in order. @throws RestageError record_invalid from what it returns. */
export function eventReader(topic: string, readKey: ReadDatum, readValue: ReadDatum): ReadEvent {
  /** A delete of a row without key has a tombstone without key. The first record may be that of a delete which was read before. */
  let mayBeBare = true;
  return (record) => {
    const place: RecordPlace = { topic, partition: 0, offset: record.offset };
    if (record.value === null) {
      if (record.key === null && !mayBeBare) throw badRecord(place, 'it has neither key nor value');
      return null;
    }
    const value = attempt(place, 'value', () => readValue(record.value ?? Buffer.alloc(0)));
    const envelope = entriesOf(value.value);
    if (envelope === null) throw badRecord(place, 'its value is no struct');
    if (BESIDE.test(value.schema?.name ?? '')) return null;
    const key = record.key === null ? null : attempt(place, 'key', () => readKey(record.key ?? Buffer.alloc(0)));
    const event = readEnvelope(place, record, envelope, value.schema, key);
    mayBeBare = event?.op === 'd' && event.key === null;
    return event;
  };
}

/** As eventReader has it. */
export function keyReader(readKey: ReadDatum): ReadKey {
  return ({ key }) => {
    if (key === null) return null;
    try {
      const { value, schema } = readKey(key);
      const values = entriesOf(value);
      return values === null || values.size === 0 ? null : { values, schema };
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      return null;
    }
  };
}

function attempt(place: RecordPlace, what: string, read: () => WireDatum): WireDatum {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw badRecord(place, `its ${what}: ${error.message}`);
  }
}

function readEnvelope(
  place: RecordPlace,
  record: KafkaRecord,
  envelope: Struct,
  schema: WireSchema | null,
  key: WireDatum | null,
): SourceEvent | null {
  const op = textOf(envelope.get('op'));
  if (op === 'm' || isBeside(envelope)) return null;
  if (op === null)
    throw badRecord(
      place,
      'it is no envelope of a change',
      "leave out the connector's transforms that flatten events, and topics that are no table's from source.debezium.topics",
    );
  if (!OPS.has(op)) throw badRecord(place, `op ${JSON.stringify(op.slice(0, 20))} is not known`);
  const source = entriesOf(envelope.get('source'));
  if (source === null) throw badRecord(place, 'it has no source block');
  if (textOf(source.get('connector')) !== 'postgresql') throw badRecord(place, 'it is not of a PostgreSQL connector');
  const [schemaName, table] = [textOf(source.get('schema')), textOf(source.get('table'))];
  if (schemaName === null || table === null || schemaName === '' || table === '')
    throw badRecord(place, 'its source block names no table');
  const header = op === 'd' || op === 'c' ? record.headers.has(MOVED[op]) : false;
  return {
    ...place,
    op: op as SourceEvent['op'],
    table: { schema: schemaName, table },
    before: structOf(envelope, schema, 'before'),
    after: structOf(envelope, schema, 'after'),
    key: keyOf(place, key),
    server: textOf(source.get('name')) ?? '',
    snapshot: textOf(source.get('snapshot')) ?? 'false',
    place: placeOf(place, source),
    micros: microsOf(source),
    transaction: blockOf(place, envelope),
    isMoved: header,
  };
}

/** Records of no table, where no schema says so: a heartbeat, a boundary of a transaction. */
function isBeside(envelope: Struct): boolean {
  if (envelope.has('op')) return false;
  return (envelope.has('ts_ms') && envelope.size === 1) || (envelope.has('status') && envelope.has('id'));
}

function structOf(envelope: Struct, schema: WireSchema | null, name: 'before' | 'after'): StructDatum | null {
  const values = entriesOf(envelope.get(name));
  return values === null ? null : { values, schema: schema?.fields.get(name) ?? null };
}

function keyOf(place: RecordPlace, key: WireDatum | null): StructDatum | null {
  if (key === null || key.value === null) return null;
  const values = entriesOf(key.value);
  if (values === null) throw badRecord(place, 'its key is no struct');
  return values.size === 0 ? null : { values, schema: key.schema };
}

function placeOf(place: RecordPlace, source: Struct): EventPlace | null {
  const lsn = integerOf(source.get('lsn'));
  if (lsn === null) return null;
  const match = /^\[(null|"(\d{1,20})"),/.exec(textOf(source.get('sequence')) ?? '');
  if (match === null) throw badRecord(place, 'its source block has no sequence: Debezium 1.3 or newer writes it');
  const [, , lastCommit] = match;
  return { lastCommit: lastCommit === undefined ? null : BigInt(lastCommit), lsn };
}

function microsOf(source: Struct): bigint {
  return integerOf(source.get('ts_us')) ?? (integerOf(source.get('ts_ms')) ?? 0n) * 1_000n;
}

function blockOf(place: RecordPlace, envelope: Struct): TransactionBlock | null {
  const block = entriesOf(envelope.get('transaction'));
  if (block === null) return null;
  const xid = /^([^:]+)/.exec(textOf(block.get('id')) ?? '')?.[1];
  const [order, collectionOrder] = [integerOf(block.get('total_order')), integerOf(block.get('data_collection_order'))];
  if (xid === undefined || order === null || collectionOrder === null)
    throw badRecord(place, 'its transaction block is not whole');
  return { xid, order, collectionOrder };
}
