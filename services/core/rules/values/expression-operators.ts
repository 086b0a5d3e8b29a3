import type { Json } from '#core/debezium-source/exact-json.ts';
import type { Decimal } from '#core/rules/values/decimal.ts';
import { coerce, commonKind, decimalOf, isNumber, jsonAs } from '#core/rules/values/expression-coercion.ts';
import { constant, type Cell, type Node, type StaticType, type Value } from '#core/rules/values/expression-node.ts';
import type { ExpressionKind } from '#core/rules/values/expression-types.ts';
import { fitInt } from '#core/rules/values/fit.ts';
import { jsonbText } from '#core/rules/values/json-text.ts';
import { requireFinite, shiftMoment } from '#core/rules/values/moments.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';

export type Comparison = '==' | '!=' | '<' | '<=' | '>' | '>=';
export type Arithmetic = '+' | '-' | '*' | '/' | '%';

const HOLDS: Readonly<Record<Comparison, (order: number) => boolean>> = {
  '==': (order) => order === 0,
  '!=': (order) => order !== 0,
  '<': (order) => order < 0,
  '<=': (order) => order <= 0,
  '>': (order) => order > 0,
  '>=': (order) => order >= 0,
};

/** SQL's comparison: unknown where either is NULL. null for kinds that do not compare. */
export function compileComparison(op: Comparison, left: Node, right: Node): Node | null {
  const isEquality = op === '==' || op === '!=';
  const ofJson = compareWithJson(op, left, right);
  if (ofJson !== null) return ofJson;
  const kind = commonKind(left, right);
  const order = kind === null ? null : orderOf(kind, isEquality, left, right);
  if (kind === null || order === null) return null;
  const [a, b] = [coerce(left, kind), coerce(right, kind)];
  if (a === null || b === null) return null;
  const holds = HOLDS[op];
  return binary({ kind: 'bool' }, a, b, (x, y) => holds(order(x, y)));
}

/** Of a kind whose values are all of one sort. null where there is none. */
export function orderOfKind(kind: ExpressionKind): ((left: Value, right: Value) => number) | null {
  switch (kind) {
    case 'bool':
      return (a, b) => Number(a) - Number(b);
    case 'int':
    case 'timestamp':
    case 'date':
    case 'duration':
      return (a, b) => ((a as bigint) < (b as bigint) ? -1 : (a as bigint) > (b as bigint) ? 1 : 0);
    case 'decimal':
      return (a, b) => (a as Decimal).compare(b as Decimal);
    case 'double':
      return (a, b) => orderDoubles(a as number, b as number);
    case 'string':
      return (a, b) => orderTexts(a as string, b as string);
    case 'bytes':
      return (a, b) => Buffer.compare(a as Uint8Array, b as Uint8Array);
    case 'null':
      return () => 0;
    case 'json':
    case 'list':
      return null;
  }
}

/** null for kinds that the operator does not take. @throws RuleFailure from the node, for what overflows or divides by zero. */
export function compileArithmetic(op: Arithmetic, left: Node, right: Node): Node | null {
  const [a, b] = [left.type.kind, right.type.kind];
  const timed = timeArithmetic(op, left, right);
  if (timed !== null) return timed;
  if (a === 'list' && b === 'list' && op === '+') {
    const type = joinLists(left.type, right.type);
    return type === null ? null : binary(type, left, right, (x, y) => [...(x as Cell[]), ...(y as Cell[])]);
  }
  const isMixed = (a === 'int' && b === 'double') || (a === 'double' && b === 'int');
  if (isMixed) return mixedArithmetic(op, left, right);
  const kind = commonKind(left, right);
  if (kind === null) return null;
  const run = ARITHMETIC[kind]?.[op];
  const [x, y] = [coerce(left, kind), coerce(right, kind)];
  return run === undefined || x === null || y === null ? null : binary({ kind }, x, y, run);
}

/** A literal is what the other one is. Else an int would be rounded, which only `double(…)` may say. */
function mixedArithmetic(op: Arithmetic, left: Node, right: Node): Node | null {
  const [int, double] = left.type.kind === 'int' ? [left, right] : [right, left];
  const asDouble = int.literal === undefined ? null : constant({ kind: 'double' }, Number(int.literal));
  if (asDouble !== null) return compileArithmetic(op, int === left ? asDouble : left, int === left ? right : asDouble);
  const asDecimal = double.literal === undefined ? null : coerce(double, 'decimal');
  return asDecimal === null
    ? null
    : compileArithmetic(op, int === left ? left : asDecimal, int === left ? asDecimal : right);
}

export function negate(node: Node): Node | null {
  switch (node.type.kind) {
    case 'int':
      return unary(node, (value) => fitInt(-(value as bigint), 'int8'));
    case 'duration':
      return unary(node, (value) => -(value as bigint));
    case 'double':
      return {
        ...unary(node, (value) => -(value as number)),
        ...(node.literal === undefined ? {} : { literal: `-${node.literal}` }),
      };
    case 'decimal':
      return unary(node, (value) => (value as Decimal).negate());
    default:
      return null;
  }
}

const ARITHMETIC: Partial<Record<ExpressionKind, Partial<Record<Arithmetic, (left: Value, right: Value) => Value>>>> = {
  int: {
    '+': (a, b) => fitInt((a as bigint) + (b as bigint), 'int8'),
    '-': (a, b) => fitInt((a as bigint) - (b as bigint), 'int8'),
    '*': (a, b) => fitInt((a as bigint) * (b as bigint), 'int8'),
    '/': (a, b) => fitInt((a as bigint) / notZero(b as bigint), 'int8'),
    '%': (a, b) => (a as bigint) % notZero(b as bigint),
  },
  decimal: {
    '+': (a, b) => (a as Decimal).plus(b as Decimal),
    '-': (a, b) => (a as Decimal).minus(b as Decimal),
    '*': (a, b) => (a as Decimal).times(b as Decimal),
    '/': (a, b) => (a as Decimal).dividedBy(b as Decimal) ?? byZero(),
    '%': (a, b) => (a as Decimal).remainder(b as Decimal) ?? byZero(),
  },
  double: {
    '+': (a, b) => checked((a as number) + (b as number), a as number, b as number),
    '-': (a, b) => checked((a as number) - (b as number), a as number, b as number),
    '*': (a, b) => notLost(checked((a as number) * (b as number), a as number, b as number), a as number, b as number),
    '/': (a, b) => {
      if (b === 0 && !Number.isNaN(a)) return byZero();
      const quotient = checked((a as number) / (b as number), a as number, b as number);
      return Number.isFinite(b) ? notLost(quotient, a as number, b as number) : quotient;
    },
  },
  string: { '+': (a, b) => (a as string) + (b as string) },
  bytes: { '+': (a, b) => Buffer.concat([a as Uint8Array, b as Uint8Array]) },
  duration: { '+': (a, b) => (a as bigint) + (b as bigint), '-': (a, b) => (a as bigint) - (b as bigint) },
};

function timeArithmetic(op: Arithmetic, left: Node, right: Node): Node | null {
  const [a, b] = [left.type.kind, right.type.kind];
  if (op === '+' && b === 'duration' && (a === 'timestamp' || a === 'date')) return shift(left, right, 1n);
  if (op === '+' && a === 'duration' && (b === 'timestamp' || b === 'date')) return shift(right, left, 1n);
  if (op !== '-') return null;
  if (b === 'duration' && (a === 'timestamp' || a === 'date')) return shift(left, right, -1n);
  if (a === 'date' && b === 'date')
    return binary({ kind: 'int' }, left, right, (x, y) => requireFinite(x as bigint) - requireFinite(y as bigint));
  const kind = commonKind(left, right);
  if (kind !== 'timestamp') return null;
  const [x, y] = [coerce(left, kind), coerce(right, kind)];
  return x === null || y === null
    ? null
    : binary({ kind: 'duration' }, x, y, (p, q) => requireFinite(p as bigint) - requireFinite(q as bigint));
}

function shift(moment: Node, span: Node, sign: bigint): Node | null {
  const at = coerce(moment, 'timestamp');
  return at === null
    ? null
    : binary({ kind: 'timestamp' }, at, span, (x, y) => shiftMoment(x as bigint, sign * (y as bigint)));
}

function orderOf(
  kind: ExpressionKind,
  isEquality: boolean,
  left: Node,
  right: Node,
): ((left: Value, right: Value) => number) | null {
  if (kind !== 'list' && kind !== 'json') return orderOfKind(kind);
  if (!isEquality) return null;
  if (kind === 'json') return (a, b) => (jsonbText(a as Json) === jsonbText(b as Json) ? 0 : 1);
  const element = left.type.element?.kind;
  const order = element === undefined || element !== right.type.element?.kind ? null : orderOfKind(element);
  return order === null ? null : (a, b) => (isSameList(a as readonly Cell[], b as readonly Cell[], order) ? 0 : 1);
}

function isSameList(left: readonly Cell[], right: readonly Cell[], order: (a: Value, b: Value) => number): boolean {
  if (left.length !== right.length) return false;
  return left.every((item, index) => {
    const other = right[index] ?? null;
    return item === null || other === null ? item === other : order(item, other) === 0;
  });
}

/** A value inside JSON beside one of a kind: equal only where it is of that kind; for an order it must be. */
function compareWithJson(op: Comparison, left: Node, right: Node): Node | null {
  const [a, b] = [left.type.kind, right.type.kind];
  if ((a === 'json') === (b === 'json') || a === 'null' || b === 'null') return null;
  const kind = a === 'json' ? b : a;
  const common = isNumber(kind) ? 'decimal' : kind;
  const order = common === 'bool' || common === 'string' || common === 'decimal' ? orderOfKind(common) : null;
  if (order === null) return null;
  const holds = HOLDS[op];
  const read = (value: Value, from: ExpressionKind): Cell | undefined =>
    from === 'json' ? jsonAs(value as Json, kind) : isNumber(from) ? decimalOf(value as bigint) : value;
  return binary({ kind: 'bool' }, left, right, (x, y) => {
    const [p, q] = [read(x, a), read(y, b)];
    if (p === null || q === null) return null;
    if (p !== undefined && q !== undefined) return holds(order(p, q));
    if (op === '==' || op === '!=') return op === '!=';
    throw new RuleFailure('wrong_type', `a value inside JSON is no ${kind}`);
  });
}

function binary(type: StaticType, left: Node, right: Node, run: (left: Value, right: Value) => Cell): Node {
  return {
    type,
    run: (row) => {
      const a = left.run(row);
      if (a === null) return null;
      const b = right.run(row);
      return b === null ? null : run(a, b);
    },
    ...(left.isConstant === true && right.isConstant === true ? { isConstant: true } : {}),
  };
}

function unary(node: Node, run: (value: Value) => Value): Node {
  return {
    type: { kind: node.type.kind },
    run: (row) => {
      const value = node.run(row);
      return value === null ? null : run(value);
    },
    ...(node.isConstant === true ? { isConstant: true } : {}),
  };
}

function joinLists(left: StaticType, right: StaticType): StaticType | null {
  if (left.element === undefined || left.element.kind === 'null') return right;
  return right.element?.kind === left.element.kind || right.element?.kind === 'null' ? left : null;
}

/** NaN is equal to itself and above all (PostgreSQL: "Floating-Point Types"). */
function orderDoubles(left: number, right: number): number {
  if (Number.isNaN(left)) return Number.isNaN(right) ? 0 : 1;
  if (Number.isNaN(right)) return -1;
  return left < right ? -1 : left > right ? 1 : 0;
}

/** By code points, as collation "C" has UTF-8. */
function orderTexts(left: string, right: string): number {
  if (left === right) return 0;
  const [a, b] = [Buffer.from(left, 'utf8'), Buffer.from(right, 'utf8')];
  return Buffer.compare(a, b);
}

function notZero(value: bigint): bigint {
  if (value === 0n) return byZero();
  return value;
}

function byZero(): never {
  throw new RuleFailure('division_by_zero', 'a division by zero');
}

function checked(result: number, left: number, right: number): number {
  if (!Number.isFinite(result) && Number.isFinite(left) && Number.isFinite(right))
    throw new RuleFailure('out_of_range', 'a number is out of the range of float8');
  return result;
}

/** As PostgreSQL: what is not 0 never becomes 0. */
function notLost(result: number, left: number, right: number): number {
  if (result === 0 && left !== 0 && right !== 0)
    throw new RuleFailure('out_of_range', 'a number is out of the range of float8');
  return result;
}
