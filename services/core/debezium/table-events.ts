import type { Lsn } from '#core/lsn.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import type { Tuple } from '#core/tuple.ts';
import type { ConnectValue } from './connect-schema.ts';
import { envelopeSchema } from './event-schemas.ts';
import { jsonWriter, type JsonWriter } from './json-converter.ts';
import type { DebeziumOptions } from './options.ts';
import type { Convert, ConverterFactory } from './record-converter.ts';
import { RowCodec } from './row-codec.ts';

/** A record without what Restage adds; `headers` are Debezium's. */
export interface DebeziumRecord {
  readonly topic: string;
  readonly key: string | Buffer | null;
  /** null: a tombstone. */
  readonly value: string | Buffer | null;
  readonly headers: readonly (readonly [name: string, value: Buffer])[];
}

/** What the events of a pipeline share. */
export interface DebeziumSource {
  /** topic.prefix. */
  readonly prefix: string;
  readonly version: string;
  /** `__debezium.context.runId`. */
  readonly runId: string;
  readonly options: DebeziumOptions;
  readonly converters: ConverterFactory;
}

/** Where an event of the stream stands. */
export interface StreamFacts {
  readonly database: string;
  readonly xid: number;
  /** Microseconds since 1970. */
  readonly commitTime: bigint;
  readonly lsn: Lsn;
  /** The LSN after the last transaction that came before this one. */
  readonly lastCommit: Lsn;
  readonly processedMs: number;
  /** The next numbers of the transaction block; one call per event. null where there is none. */
  readonly order: (() => { readonly total: number; readonly collection: number }) | null;
}

export type SnapshotMarker = 'true' | 'first' | 'first_in_data_collection' | 'last_in_data_collection' | 'last';

export interface SnapshotFacts {
  readonly database: string;
  readonly lsn: Lsn;
  readonly marker: SnapshotMarker;
  /** When the snapshot was read, and this row was. Milliseconds since 1970. */
  readonly readMs: number;
  readonly processedMs: number;
}

/** An old image: whole (REPLICA IDENTITY FULL), or the identity's columns with nulls beside. */
export interface OldImage {
  readonly values: Tuple;
}

type Op = 'c' | 'u' | 'd' | 't' | 'r';

/** The events of one table as Debezium 3.5 writes them for the same changes and options. */
export class TableEvents {
  readonly #source: DebeziumSource;
  readonly #structure: TableStructure;
  readonly #codec: RowCodec;
  readonly #convertKey: Convert | null;
  readonly #convertValue: Convert;
  readonly #keyJson: JsonWriter | null;
  readonly #context: readonly (readonly [string, Buffer])[];

  private constructor(
    source: DebeziumSource,
    structure: TableStructure,
    codec: RowCodec,
    convertKey: Convert | null,
    convertValue: Convert,
  ) {
    this.#source = source;
    this.#structure = structure;
    this.#codec = codec;
    this.#convertKey = convertKey;
    this.#convertValue = convertValue;
    this.#keyJson = codec.keySchema === null ? null : jsonWriter(codec.keySchema);
    this.#context = source.options.extendedHeadersEnabled ? contextHeaders(source) : [];
  }

  /** `columns`: those that values come for, in their order. */
  static async open(
    source: DebeziumSource,
    structure: TableStructure,
    columns: readonly ColumnStructure[],
  ): Promise<TableEvents> {
    const codec = new RowCodec(structure, columns, source.options);
    const { topic } = structure;
    const key = codec.keySchema === null ? null : await source.converters(topic, 'key', codec.keySchema);
    const value = await source.converters(topic, 'value', envelopeSchema(topic, codec.rowSchema));
    return new TableEvents(source, structure, codec, key, value);
  }

  insert(after: Tuple, facts: StreamFacts): DebeziumRecord[] {
    return [this.#record(this.#key(after), this.#streamed('c', null, this.#codec.row(after), facts), this.#context)];
  }

  /** A change of the key is a delete, its tombstone and an insert, each naming the other key in a header. */
  update(before: OldImage | null, after: Tuple, facts: StreamFacts): DebeziumRecord[] {
    const codec = this.#codec;
    const whole = before === null ? after : codec.complete(after, before.values);
    const key = this.#key(whole);
    const row = codec.row(whole);
    if (before === null) return [this.#record(key, this.#streamed('u', null, row, facts), this.#context)];
    const oldKey = this.#key(before.values);
    const oldRow = codec.row(before.values);
    if (isSame(oldKey, key)) return [this.#record(key, this.#streamed('u', oldRow, row, facts), this.#context)];
    const named = (name: string, values: Tuple): (readonly [string, Buffer])[] => [
      [name, Buffer.from(this.#keyJson?.(codec.key(values)) ?? '')],
      ...this.#context,
    ];
    return [
      ...this.#deletion(oldKey, this.#streamed('d', oldRow, null, facts), named('__debezium.newkey', whole)),
      this.#record(key, this.#streamed('c', null, row, facts), named('__debezium.oldkey', before.values)),
    ];
  }

  delete(before: OldImage, facts: StreamFacts): DebeziumRecord[] {
    const value = this.#streamed('d', this.#codec.row(before.values), null, facts);
    return this.#deletion(this.#key(before.values), value, this.#context);
  }

  /** None where TRUNCATE is skipped. */
  truncate(facts: StreamFacts): DebeziumRecord[] {
    if (this.#source.options.skippedOperations === 't') return [];
    return [this.#record(null, this.#streamed('t', null, null, facts), this.#context)];
  }

  snapshotRow(values: Tuple, facts: SnapshotFacts): DebeziumRecord {
    const { database, lsn, marker, readMs, processedMs } = facts;
    const read = BigInt(readMs) * 1_000n;
    const source = this.#block(database, read, marker, `[null,"${lsn}"]`, null, lsn);
    const value = this.#envelope('r', null, this.#codec.row(values), source, null, processedMs);
    return this.#record(this.#key(values), value, this.#context);
  }

  #deletion(
    key: string | Buffer | null,
    value: string | Buffer,
    headers: readonly (readonly [string, Buffer])[],
  ): DebeziumRecord[] {
    const deletion = this.#record(key, value, headers);
    return this.#source.options.tombstonesOnDelete ? [deletion, { ...deletion, value: null }] : [deletion];
  }

  #streamed(op: Op, before: ConnectValue, after: ConnectValue, facts: StreamFacts): string | Buffer {
    const { database, xid, commitTime, lsn, lastCommit, processedMs } = facts;
    const order = facts.order?.() ?? null;
    const transaction = order === null ? null : [`${xid}:${lsn}`, BigInt(order.total), BigInt(order.collection)];
    const source = this.#block(database, commitTime, 'false', `["${lastCommit}","${lsn}"]`, xid, lsn);
    return this.#envelope(op, before, after, source, transaction, processedMs);
  }

  #block(
    database: string,
    micros: bigint,
    snapshot: string,
    sequence: string,
    xid: number | null,
    lsn: Lsn,
  ): ConnectValue {
    const { prefix, version } = this.#source;
    const { schema, table } = this.#structure;
    const txId = xid === null ? null : BigInt(xid >>> 0);
    const times = [micros, micros * 1_000n];
    const head = [version, 'postgresql', prefix, micros / 1_000n, snapshot, database, sequence, ...times];
    return [...head, schema, table, txId, lsn, null, null, null];
  }

  #envelope(
    op: Op,
    before: ConnectValue,
    after: ConnectValue,
    source: ConnectValue,
    transaction: ConnectValue,
    processedMs: number,
  ): string | Buffer {
    const ms = BigInt(processedMs);
    return this.#convertValue([before, after, source, transaction, op, ms, ms * 1_000n, ms * 1_000_000n]);
  }

  #key(values: Tuple): string | Buffer | null {
    return this.#convertKey === null ? null : this.#convertKey(this.#codec.key(values));
  }

  #record(
    key: string | Buffer | null,
    value: string | Buffer,
    headers: readonly (readonly [string, Buffer])[],
  ): DebeziumRecord {
    return { topic: this.#structure.topic, key, value, headers };
  }
}

function contextHeaders({ prefix, runId }: DebeziumSource): (readonly [string, Buffer])[] {
  const values = { connectorLogicalName: prefix, taskId: '0', connectorName: 'postgresql', runId };
  return Object.entries(values).map(([name, value]) => [`__debezium.context.${name}`, Buffer.from(value)]);
}

function isSame(one: string | Buffer | null, other: string | Buffer | null): boolean {
  return Buffer.isBuffer(one) && Buffer.isBuffer(other) ? one.equals(other) : one === other;
}
