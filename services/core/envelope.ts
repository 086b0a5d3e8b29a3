/** A value in JSON: booleans and int2/int4 as such, every other type as PostgreSQL's own text (invariant 5). */
export type Cell = string | number | boolean | null;

/** Columns by name; a column whose TOASTed value did not change is absent. Own properties only: a column may be called `__proto__`. */
export type Row = Record<string, Cell>;

export type Op = 'c' | 'u' | 'd' | 'r' | 't' | 'm';

/** Debezium's `source` block. LSNs are unsigned 64-bit numbers written as JSON integers below 2^53, else as strings. */
export interface EventSource {
  readonly version: string;
  readonly connector: 'restage';
  readonly name: string;
  readonly ts_ms: number;
  readonly ts_us: number | string;
  readonly ts_ns: number | string;
  readonly snapshot: 'true' | 'false';
  readonly db: string;
  /** `["commitLsn","lsn"]`, decimal, in a string, as Debezium writes it. */
  readonly sequence: string;
  readonly schema: string;
  readonly table: string;
  readonly txId: number | null;
  readonly lsn: number | null;
  readonly xmin: number | null;
  readonly origin: string | null;
}

export interface Envelope {
  readonly before: Row | null;
  readonly after: Row | null;
  readonly source: EventSource;
  readonly transaction: {
    readonly id: string;
    readonly total_order: number;
    readonly data_collection_order: number;
  } | null;
  readonly op: Op;
  readonly ts_ms: number;
  readonly ts_us: number | string;
  readonly ts_ns: number | string;
}

/** The text PostgreSQL's input function takes back; null stays null. */
export function cellText(cell: Cell): string | null {
  if (cell === null) return null;
  if (typeof cell === 'boolean') return cell ? 't' : 'f';
  return typeof cell === 'number' ? String(cell) : cell;
}
