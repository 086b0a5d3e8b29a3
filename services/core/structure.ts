import { crc32 } from 'node:zlib';
import type { TableName } from '#core/table-name.ts';

/** How a column's value stands in JSON: everything but the first two is PostgreSQL's own text (invariant 5). */
export type JsonForm = 'boolean' | 'integer' | 'text';

export interface ColumnStructure {
  readonly name: string;
  /** For people, as format_type prints it: `numeric(10,2)`. Never put into SQL. */
  readonly type: string;
  readonly typeSchema: string;
  /** pg_type.typname; an array's begins with `_`. */
  readonly typeName: string;
  /** Type modifiers without parentheses, `10,2`; '' for none. */
  readonly modifiers: string;
  readonly json: JsonForm;
  readonly notNull: boolean;
  readonly generated: boolean;
  /** How it is computed, as pg_get_expr prints it with an empty search path; only where `generated`. */
  readonly generation?: { readonly kind: 'stored' | 'virtual'; readonly expression: string };
  /** The element's type where this one is its array: an array's own name does not tell it when that was cut. */
  readonly element?: { readonly schema: string; readonly name: string };
  readonly identity: '' | 'always' | 'byDefault';
  /** Where it is another than its type's own. */
  readonly collation?: { readonly schema: string; readonly name: string };
  /** Labels in order where the type (or its element) is an enum, else null. */
  readonly enumLabels: readonly string[] | null;
  /** Of a domain, in pipelines with profile `debezium` only: what it is in the end. */
  readonly base?: { readonly name: string; readonly modifiers: string; readonly labels: readonly string[] | null };
  /** How its values are masked at capture: method, key id and a fingerprint. Absent: they are as the source has them. */
  readonly mask?: string;
  /** Its default as pg_get_expr prints it; in pipelines with profile `debezium` only. */
  readonly default?: string;
}

/** Which columns name a row in UPDATE and DELETE events (PostgreSQL: "Replica Identity"). */
export interface RowIdentity {
  readonly kind: 'primaryKey' | 'index' | 'full' | 'nothing';
  /** The identity's columns; empty for `full` without a primary key and for `nothing`. */
  readonly columns: readonly string[];
  /** REPLICA IDENTITY FULL: the old row comes whole, also where a primary key gives the columns above. */
  readonly isFull: boolean;
}

/** A table's shape at one moment; `topic` ties it to its events, so no reader ever parses a topic's name. */
export interface TableStructure extends TableName {
  readonly topic: string;
  readonly columns: readonly ColumnStructure[];
  readonly identity: RowIdentity;
  readonly primaryKey: readonly string[];
  readonly uniques: readonly (readonly string[])[];
  /** Columns of the source that are not captured, sorted; absent for none. */
  readonly excluded?: readonly string[];
  /** Those of the keys above that are checked at the end of a statement or transaction; absent for none. */
  readonly deferrable?: readonly (readonly string[])[];
}

/** The 32-bit version that events carry: a hash of the structure, so equal shapes have equal versions after any restart. */
export function structureVersion(structure: TableStructure): number {
  return crc32(JSON.stringify(structure)) >>> 0;
}
