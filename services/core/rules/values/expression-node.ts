import type { Image } from '#core/change.ts';
import type { Json, JsonNumber } from '#core/debezium-source/exact-json.ts';
import { RestageError } from '#core/errors.ts';
import type { Decimal } from '#core/rules/values/decimal.ts';
import type { ExpressionContext, ExpressionKind } from '#core/rules/values/expression-types.ts';
import type { ValueType } from '#core/rules/values/value-types.ts';

/** A value while it is computed; its kind is known beforehand, NULL is null. Times are as moments.ts has them. */
export type Value = boolean | bigint | number | string | Decimal | Uint8Array | JsonValue | readonly Cell[];
export type Cell = Value | null;
/** JSON's null is NULL. */
type JsonValue = JsonNumber | readonly Json[] | ReadonlyMap<string, Json>;

export interface StaticType {
  readonly kind: ExpressionKind;
  /** Of a list. */
  readonly element?: StaticType;
  /** The column's own type, where the expression is a column and nothing else. */
  readonly column?: ValueType;
}

/** What a running expression sees. */
export interface RowScope {
  readonly image: Image;
  readonly context: ExpressionContext;
  /** Variables of macros, by their number. */
  readonly locals: Cell[];
}

/** A part of an expression, ready to run. */
export interface Node {
  readonly type: StaticType;
  run(row: RowScope): Cell;
  /** It reads nothing of the row. */
  readonly isConstant?: boolean;
  /** The text of a literal, for an exact reading as another kind. */
  readonly literal?: string;
}

/** An expression's syntax, as the parser gives it. */
export interface Syntax {
  readonly op: string;
  readonly args: unknown;
  readonly start: number;
  readonly end: number;
}

export function isSyntax(value: unknown): value is Syntax {
  return typeof value === 'object' && value !== null && 'op' in value && 'args' in value;
}

/** As people read it: `list<int>`. */
export function typeName(type: StaticType): string {
  return type.element === undefined ? type.kind : `list<${typeName(type.element)}>`;
}

export function constant(type: StaticType, value: Cell, literal?: string): Node {
  return { type, run: () => value, isConstant: true, ...(literal === undefined ? {} : { literal }) };
}

/** Where a part stands, so that a message can show it. */
export interface Place {
  readonly where: string;
  readonly text: string;
}

/** What does not fit, with the part of the expression that it is about. */
export function unfit(place: Place, syntax: Syntax, what: string, fix?: string): RestageError {
  const part = place.text.slice(syntax.start, syntax.end);
  const shown = part === place.text ? '' : `, at ${part}`;
  return new RestageError('rule_invalid', what, {
    where: `${place.where}${shown}`,
    ...(fix === undefined ? {} : { fix }),
  });
}
