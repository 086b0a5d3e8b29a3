import type { OutboxConfig } from '#core/outbox/outbox-config.ts';
import type { MaskKeys, MaskSpec } from '#core/rules/values/mask-types.ts';
import type { TableName } from '#core/table-name.ts';

/**
 * One rule of an output: what becomes of a table's rows. Several rules may name a table, which splits it, and several may give one target
 * table, which merges theirs. Columns are named as the source names them; only `renameColumns` says what they are called afterwards.
 */
export interface RuleConfig {
  readonly table: TableName;
  /** File, line and column. */
  readonly place?: string;
  /** `schema.table` at the target; null keeps the name. */
  readonly rename: TableName | null;
  readonly renameColumns: ReadonlyMap<string, string>;
  readonly dropColumns: readonly string[];
  /** CEL over the row's columns; null takes every row. */
  readonly where: string | null;
  /** Only these pass, and columns that are added later do not. Absent is null: all of them. */
  readonly keepColumns?: readonly string[] | null;
  /** These come first, by their names at the target. */
  readonly orderColumns?: readonly string[];
  /** Column to type, as PostgreSQL writes it. */
  readonly castColumns?: ReadonlyMap<string, string>;
  readonly setColumns?: readonly ComputedColumn[];
  /** Columns whose values are masked, after every condition and computed column has seen them. */
  readonly maskColumns?: RuleMasks;
  /** The row's identity at the target, by its names there. Absent is null: the source's. */
  readonly key?: readonly string[] | null;
  /** Rows of other captured tables that expressions may read. Absent is none. */
  readonly lookUps?: readonly LookUp[];
  /** The row's old values are kept in the rules' state: its table need not send them. Absent is false. */
  readonly state?: boolean;
  /** Absent is null: a row gives one row. */
  readonly unnest?: Unnest | null;
  /** The table's new rows are events on other topics; the rule takes it to no target. Absent is null. */
  readonly outbox?: OutboxConfig | null;
}

/** Masks by column, and the secrets that they name. */
export interface RuleMasks {
  readonly specs: ReadonlyMap<string, MaskSpec>;
  readonly keys: MaskKeys;
}

/** A column whose value an expression gives; one of the source's name takes its place. */
export interface ComputedColumn {
  readonly column: string;
  /** As PostgreSQL writes it. */
  readonly type: string;
  /** CEL over the row's columns. */
  readonly value: string;
}

/** A row of another captured table, found by its key; as the source has it, whatever the rules make of that table. */
export interface LookUp {
  /** The name that stands before the dot: `customer.name`. */
  readonly as: string;
  readonly table: TableName;
  /** Each column of the other table's key, and the column of this row that has its value. */
  readonly on: ReadonlyMap<string, string>;
  /** File, line and column. */
  readonly place?: string;
}

/** A row for each element of an array, or of a json or jsonb array. */
export interface Unnest {
  readonly column: string;
  /** The element's column. */
  readonly as: string;
  /** The column that counts the elements from 1; null for none. */
  readonly position: string | null;
}
