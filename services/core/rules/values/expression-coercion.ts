import { JsonNumber, type Json } from '#core/debezium-source/exact-json.ts';
import { Decimal } from '#core/rules/values/decimal.ts';
import type { Cell, Node, StaticType, Value } from '#core/rules/values/expression-node.ts';
import type { ExpressionKind } from '#core/rules/values/expression-types.ts';
import { floatingText } from '#core/rules/values/floats.ts';
import { numberOf } from '#core/rules/values/json-text.ts';
import { momentOfDay, parseDay, parseMoment } from '#core/rules/values/moments.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';
import { bytesOf } from '#core/rules/values/text-input.ts';

const NUMBERS: ReadonlySet<ExpressionKind> = new Set(['int', 'decimal', 'double']);

export function isNumber(kind: ExpressionKind): boolean {
  return NUMBERS.has(kind);
}

/** Text as a value of another kind. @throws RuleFailure. */
const READERS: Partial<Record<ExpressionKind, (text: string) => Value>> = {
  timestamp: (text) => parseMoment(text, true),
  date: parseDay,
  bytes: bytesOf,
};

/**
 * The same as another kind, where nothing can be lost: int and double literals as decimal, a date as its midnight, a literal text as a
 * time. null where it takes a word of its own.
 * @throws RuleFailure for a literal that cannot be read.
 */
export function coerce(node: Node, kind: ExpressionKind): Node | null {
  const from = node.type.kind;
  if (from === kind) return node;
  if (from === 'null') return { ...node, type: { kind } };
  if (kind === 'decimal' && isNumber(from)) {
    const { literal } = node;
    if (literal !== undefined) return fixed(kind, Decimal.parse(literal));
    return convert(node, kind, (value) => decimalOf(value as bigint | number));
  }
  if (kind === 'timestamp' && from === 'date') return convert(node, kind, (value) => momentOfDay(value as bigint));
  const read = READERS[kind];
  if (from === 'string' && node.literal !== undefined && read !== undefined) return fixed(kind, read(node.literal));
  if (kind === 'json' && from !== 'list') return convert(node, kind, (value) => jsonOf(value, node.type));
  return null;
}

/** The kind in which two can be compared or be one or the other; null for none. */
export function commonKind(left: Node, right: Node): ExpressionKind | null {
  const [a, b] = [left.type.kind, right.type.kind];
  if (a === b || b === 'null') return a;
  if (a === 'null') return b;
  if (isNumber(a) && isNumber(b)) return 'decimal';
  if ((a === 'date' && b === 'timestamp') || (a === 'timestamp' && b === 'date')) return 'timestamp';
  if (a === 'string' && left.literal !== undefined && READERS[b] !== undefined) return b;
  if (b === 'string' && right.literal !== undefined && READERS[a] !== undefined) return a;
  return null;
}

export function decimalOf(value: bigint | number | Decimal): Decimal {
  if (value instanceof Decimal) return value;
  return typeof value === 'bigint' ? Decimal.ofInt(value) : Decimal.parse(floatingText(value, 'float8'));
}

/** A value inside JSON as one of a kind; undefined where it is of another. */
export function jsonAs(value: Json, kind: ExpressionKind): Cell | undefined {
  if (value === null) return null;
  switch (kind) {
    case 'bool':
      return typeof value === 'boolean' ? value : undefined;
    case 'string':
      return typeof value === 'string' ? value : undefined;
    case 'int':
    case 'decimal':
    case 'double':
      return value instanceof JsonNumber ? numberOf(value) : undefined;
    default:
      return undefined;
  }
}

/** As a value inside JSON. @throws RuleFailure for numbers that JSON does not have. */
export function jsonOf(value: Cell, type: StaticType): Json {
  if (value === null) return null;
  switch (type.kind) {
    case 'json':
    case 'bool':
    case 'string':
      return value as Json;
    case 'list':
      return (value as readonly Cell[]).map((item) => jsonOf(item, type.element ?? { kind: 'null' }));
    case 'int':
    case 'decimal':
    case 'double':
      return jsonNumber(decimalOf(value as bigint | number | Decimal));
    default:
      throw new RuleFailure('wrong_type', `a ${type.kind} stands in JSON as a string: write string(…)`);
  }
}

function jsonNumber(value: Decimal): JsonNumber {
  if (value.special !== null) throw new RuleFailure('not_finite', 'JSON has no NaN and no infinity');
  return new JsonNumber(value.toString());
}

function convert(node: Node, kind: ExpressionKind, change: (value: Value) => Value | null): Node {
  return {
    type: { kind },
    run: (row) => {
      const value = node.run(row);
      return value === null ? null : change(value);
    },
    ...(node.isConstant === true ? { isConstant: true } : {}),
  };
}

function fixed(kind: ExpressionKind, value: Value): Node {
  return { type: { kind }, run: () => value, isConstant: true };
}
