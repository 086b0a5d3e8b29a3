import { joinTexts, jsonParts, LONG_CHARACTERS, LongText, type Text } from '#core/long-text.ts';
import {
  clockFields,
  decimalLsn,
  EventTail,
  tableFields,
  type EventFacts,
  type StreamOp,
  type TransactionFacts,
} from '#core/event-tail.ts';
import { EventWriter } from '#core/event-writer.ts';
import type { Lsn } from '#core/lsn.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { textsOf, UNCHANGED, WireTuple, type SentTuple, type Tuple } from '#core/tuple.ts';

/** `key`: only the identity's columns have values. */
export interface OldRow {
  readonly kind: 'key' | 'full';
  readonly values: SentTuple;
}

/** A row's record. Its bytes are views, which the encoder's next event gives up. */
export interface RowEvent {
  readonly key: string | Buffer | null;
  readonly value: Text | Buffer;
  readonly isKeyChange: boolean;
}

// oxlint-disable-next-line no-control-regex -- JSON wants control characters escaped
const NEEDS_ESCAPE = /["\\\u0000-\u001f]/;

/** Writes Debezium's envelope (profile `lossless`) for one table, without an object per event. */
export class EventEncoder {
  readonly structure: TableStructure;
  readonly #columns: readonly ColumnStructure[];
  readonly #prefixes: readonly string[];
  readonly #keyIndexes: readonly number[];
  readonly #sourceHead: string;
  readonly #sourceName: string;
  readonly #sourceTail: string;
  readonly #tail: EventTail;
  readonly #writer: EventWriter;
  /** Of the moment that was asked for last. */
  #loadTail: { readonly snapshot: Lsn; readonly processedMs: number; readonly bytes: Buffer } | null = null;

  /** `columns`: those that values come for, in their order; generated columns are left out by the caller. */
  constructor(
    structure: TableStructure,
    columns: readonly ColumnStructure[],
    pipeline: string,
    database: string,
    version: string,
  ) {
    this.structure = structure;
    this.#columns = columns;
    this.#prefixes = columns.map((column) => `${JSON.stringify(column.name)}:`);
    this.#keyIndexes = structure.identity.columns.map((name) => columns.findIndex((column) => column.name === name));
    this.#sourceHead = `{"version":${JSON.stringify(version)},"connector":"restage","name":${JSON.stringify(pipeline)}`;
    this.#sourceName = `,"db":${JSON.stringify(database)}`;
    this.#sourceTail = tableFields(structure);
    this.#tail = new EventTail(structure, this.#sourceHead, database);
    this.#writer = new EventWriter(columns, this.#keyIndexes, this.#tail);
  }

  /** The key's JSON, or null where the table has no identity. */
  key(values: Tuple): string | null {
    if (this.#keyIndexes.length === 0) return null;
    let json = '{';
    for (const index of this.#keyIndexes) {
      if (json.length > 1) json += ',';
      const value = values[index];
      // An unchanged identity column's value stands in the old key, which callers give then.
      json += this.#prefixes[index]! + this.#cell(index, typeof value === 'string' ? value : null); // every column has a prefix
    }
    return `${json}}`;
  }

  /** A new image with those values of the identity that did not change, and so come with the old one only. */
  withKey(after: Tuple, before: Tuple): Tuple {
    if (!this.#keyIndexes.some((index) => after[index] === UNCHANGED)) return after;
    return after.map((value, index) =>
      value === UNCHANGED && this.#keyIndexes.includes(index) ? (before[index] ?? null) : value,
    );
  }

  /** Whether two images name the same row. */
  isSameKey(a: Tuple, b: Tuple): boolean {
    return this.#keyIndexes.every((index) => a[index] === b[index]);
  }

  /** The columns that are there, as a JSON object. */
  row(values: Tuple): Text {
    let json = '{';
    let parts: string[] | null = null;
    for (let index = 0; index < this.#columns.length; index += 1) {
      const value = values[index];
      // A source may send generated columns (publish_generated_columns); snapshots never have them.
      if (value === UNCHANGED || value === undefined || this.#columns[index]?.generated === true) continue;
      if (json.length > 1 || parts !== null) json += ',';
      json += this.#prefixes[index]!; // same length
      if (value !== null && value.length > LONG_CHARACTERS) {
        parts = [...(parts ?? []), json, ...jsonParts(value)];
        json = '';
      } else json += this.#cell(index, value);
    }
    return parts === null ? `${json}}` : new LongText([...parts, `${json}}`]);
  }

  /** A change of the stream. `before` and `after` are JSON from `row`, or `null`. */
  change(op: StreamOp, before: Text, after: Text, transaction: TransactionFacts, event: EventFacts): Text {
    const tail = this.#tail.text(op, transaction, event);
    if (typeof before === 'string' && typeof after === 'string') return `{"before":${before},"after":${after}${tail}`;
    return joinTexts(['{"before":', before, ',"after":', after, tail]);
  }

  insert(after: SentTuple, transaction: TransactionFacts, facts: EventFacts): RowEvent {
    return this.#alone('c', after, transaction, facts);
  }

  update(before: OldRow | null, after: SentTuple, transaction: TransactionFacts, facts: EventFacts): RowEvent {
    if (before === null) return this.#alone('u', after, transaction, facts);
    const { values } = before;
    const writer = this.#writer;
    if (values instanceof WireTuple && after instanceof WireTuple && writer.hasKey(after)) {
      const isKeyChange = !writer.isSameKey(values, after);
      const image = before.kind === 'full' || isKeyChange ? { tuple: values, isKey: before.kind === 'key' } : null;
      return { key: writer.key(after), value: writer.change('u', image, after, transaction, facts), isKeyChange };
    }
    const [old, sent] = [textsOf(values), textsOf(after)];
    // An unchanged, toasted identity column comes in the old tuple only.
    const whole = this.withKey(sent, old);
    const isKeyChange = !this.isSameKey(old, whole);
    const image = before.kind === 'full' ? this.row(old) : isKeyChange ? this.key(old) : null;
    const row = this.row(before.kind === 'full' ? sent : whole);
    return { key: this.key(whole), value: this.change('u', image ?? 'null', row, transaction, facts), isKeyChange };
  }

  delete(before: OldRow, transaction: TransactionFacts, facts: EventFacts): RowEvent {
    const { kind, values } = before;
    const isKey = kind === 'key';
    if (values instanceof WireTuple) {
      const writer = this.#writer;
      const image = isKey && this.#keyIndexes.length === 0 ? null : { tuple: values, isKey };
      const value = writer.change('d', image, null, transaction, facts);
      return { key: writer.key(values), value, isKeyChange: false };
    }
    const key = this.key(values);
    const image = isKey ? (key ?? 'null') : this.row(values);
    return { key, value: this.change('d', image, 'null', transaction, facts), isKeyChange: false };
  }

  /** A row without an old one. As bytes it is written as it came; what is large or masked is text already. */
  #alone(op: 'c' | 'u', after: SentTuple, transaction: TransactionFacts, facts: EventFacts): RowEvent {
    if (after instanceof WireTuple) {
      const key = this.#writer.key(after);
      return { key, value: this.#writer.change(op, null, after, transaction, facts), isKeyChange: false };
    }
    const value = this.change(op, 'null', this.row(after), transaction, facts);
    return { key: this.key(after), value, isKeyChange: false };
  }

  /** A row of the snapshot, whose LSN stands for when it was read. */
  snapshot(after: SentTuple, snapshot: Lsn, processedMs: number): Omit<RowEvent, 'isKeyChange'> {
    const tail = this.#snapshotTail(snapshot, processedMs);
    if (after instanceof WireTuple)
      return { key: this.#writer.key(after), value: this.#writer.snapshotRow(after, tail) };
    const row = this.row(after);
    const parts = ['{"before":null,"after":', row, tail.toString()];
    return { key: this.key(after), value: typeof row === 'string' ? parts.join('') : joinTexts(parts) };
  }

  /** The same for many rows in a row. */
  #snapshotTail(snapshot: Lsn, processedMs: number): Buffer {
    const known = this.#loadTail;
    if (known?.snapshot === snapshot && known.processedMs === processedMs) return known.bytes;
    const lsn = decimalLsn(snapshot);
    const text =
      `,"source":${this.#sourceHead},${clockFields(processedMs)},"snapshot":"true"${this.#sourceName},` +
      `"sequence":"[null,\\"${lsn}\\"]"${this.#sourceTail},"txId":null,"lsn":${lsn},"xmin":null,"origin":null},` +
      `"transaction":null,"op":"r",${clockFields(processedMs)}}`;
    const bytes = Buffer.from(text);
    this.#loadTail = { snapshot, processedMs, bytes };
    return bytes;
  }

  #cell(index: number, value: string | null): string {
    if (value === null) return 'null';
    switch (this.#columns[index]?.json) {
      case 'integer':
        return value;
      case 'boolean':
        return value === 't' ? 'true' : 'false';
      default:
        return NEEDS_ESCAPE.test(value) ? JSON.stringify(value) : `"${value}"`;
    }
  }
}
