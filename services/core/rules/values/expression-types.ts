import type { Image } from '#core/change.ts';
import type { ColumnStructure } from '#core/structure.ts';
import type { ValueType } from '#core/rules/values/value-types.ts';

/** What an expression gives, before it is written as a column's text. `json` is a value inside jsonb, of a kind that only the row knows. */
export type ExpressionKind =
  | 'bool'
  | 'int'
  | 'decimal'
  | 'double'
  | 'string'
  | 'timestamp'
  | 'date'
  | 'duration'
  | 'bytes'
  | 'json'
  | 'list'
  | 'null';

/** What an expression may read, and what it is to give. All checked when it is compiled. */
export interface ExpressionOptions {
  /** Names the rule, for messages. */
  readonly where: string;
  /** The type of the column that it fills; null takes what the expression is. */
  readonly result?: ValueType | null;
  /** Other rows beside the event's, by the name that stands before the dot: `customer.name`, `item.value`. */
  readonly rows?: ReadonlyMap<string, readonly ColumnStructure[]>;
}

/** What a row brings beside its image. */
export interface ExpressionContext {
  /** The transaction's commit, microseconds since 1970 (`event.time`). Absent: an expression that reads it fails. */
  readonly time?: bigint;
  /** Images by the names of ExpressionOptions.rows; one that is absent or null has nothing but NULLs. */
  readonly rows?: ReadonlyMap<string, Image | null>;
}

/** A compiled expression. It sees no clock and no randomness: the same row and context give the same text. */
export interface Expression {
  /** The event's columns that it reads, in no order. */
  readonly columns: readonly string[];
  /** Columns of the other rows that it reads, by the row's name. */
  readonly reads: ReadonlyMap<string, readonly string[]>;
  /** Whether `event.time` is in it: the row alone does not tell what it gives. */
  readonly readsTime: boolean;
  readonly kind: ExpressionKind;
  /** The declared type, or the one that the expression has by itself. */
  readonly type: ValueType;
  /** PostgreSQL's text of `type`. @throws RuleFailure, also for a column that the image lacks. */
  evaluate(image: Image, context?: ExpressionContext): string | null;
  /** Of an expression of kind bool: SQL's three values, null for unknown. @throws RuleFailure. */
  test(image: Image, context?: ExpressionContext): boolean | null;
}
