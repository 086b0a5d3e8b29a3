import { joinTexts, jsonParts, LONG_CHARACTERS, LongText, type Text } from '#core/long-text.ts';
import { formatLsn, type Lsn } from '#core/lsn.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { UNCHANGED, type Tuple } from '#core/tuple.ts';

/** What every event of a transaction shares. */
export interface TransactionFacts {
  readonly commit: Lsn;
  readonly xid: number;
  /** Microseconds since 1970. */
  readonly commitTime: bigint;
  /** Made by transactionFacts, once for all of its events; absent: made for each. */
  readonly text?: TransactionText;
}

/** What of a transaction stands in every envelope, as JSON. */
interface TransactionText {
  readonly times: string;
  readonly commit: string;
  readonly id: string;
}

export function transactionFacts(commit: Lsn, xid: number, commitTime: bigint): TransactionFacts {
  const facts = { commit, xid, commitTime };
  return { ...facts, text: textOf(facts) };
}

function textOf({ commit, xid, commitTime }: TransactionFacts): TransactionText {
  const times = `,"ts_ms":${commitTime / 1000n},"ts_us":${commitTime},"ts_ns":${commitTime * 1000n}`;
  return { times, commit: decimal(commit), id: `{"id":"${xid}:${formatLsn(commit)}","total_order":` };
}

export interface EventFacts {
  readonly lsn: Lsn;
  readonly ordinal: number;
  /** 1, 2, … among the transaction's events of this table. */
  readonly tableOrdinal: number;
  readonly processedMs: number;
}

const SAFE = BigInt(Number.MAX_SAFE_INTEGER);
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
  #clockMs = -1;
  #clockText = '';

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
    this.#sourceTail = `,"schema":${JSON.stringify(structure.schema)},"table":${JSON.stringify(structure.table)}`;
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
  change(op: 'c' | 'u' | 'd', before: Text, after: Text, transaction: TransactionFacts, event: EventFacts): Text {
    const { ordinal, tableOrdinal, processedMs } = event;
    const { times, commit, id } = transaction.text ?? textOf(transaction);
    const lsn = decimal(event.lsn);
    const tail =
      `,"source":${this.#sourceHead}${times},"snapshot":"false"${this.#sourceName},` +
      `"sequence":"[\\"${commit}\\",\\"${lsn}\\"]"${this.#sourceTail},"txId":${transaction.xid},` +
      `"lsn":${lsn},"xmin":null,"origin":null},"transaction":${id}${ordinal},"data_collection_order":` +
      `${tableOrdinal}},"op":"${op}",${this.#clock(processedMs)}}`;
    if (typeof before === 'string' && typeof after === 'string') return `{"before":${before},"after":${after}${tail}`;
    return joinTexts(['{"before":', before, ',"after":', after, tail]);
  }

  /** A row of the snapshot, whose LSN stands for when it was read. */
  snapshotRow(after: Text, snapshot: Lsn, processedMs: number): Text {
    const lsn = decimal(snapshot);
    const tail =
      `,"source":${this.#sourceHead},${this.#clock(processedMs)},"snapshot":"true"${this.#sourceName},` +
      `"sequence":"[null,\\"${lsn}\\"]"${this.#sourceTail},"txId":null,"lsn":${lsn},"xmin":null,"origin":null},` +
      `"transaction":null,"op":"r",${this.#clock(processedMs)}}`;
    if (typeof after === 'string') return `{"before":null,"after":${after}${tail}`;
    return joinTexts(['{"before":null,"after":', after, tail]);
  }

  /** The same for many events in a row. */
  #clock(ms: number): string {
    if (ms !== this.#clockMs) {
      this.#clockMs = ms;
      this.#clockText = `"ts_ms":${ms},"ts_us":${ms}000,"ts_ns":${ms}000000`;
    }
    return this.#clockText;
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

/** Below 2^53 a JavaScript number prints the same digits in a fraction of the time. */
function decimal(lsn: Lsn): string {
  return lsn <= SAFE ? String(Number(lsn)) : String(lsn);
}
