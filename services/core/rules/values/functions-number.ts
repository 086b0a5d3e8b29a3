import { parseInteger, nearestEven, parseNumeric } from '#core/rules/values/cast.ts';
import { Decimal } from '#core/rules/values/decimal.ts';
import { decimalOf, jsonAs } from '#core/rules/values/expression-coercion.ts';
import type { Value } from '#core/rules/values/expression-node.ts';
import { fitInt, wholeOf } from '#core/rules/values/fit.ts';
import { decimalText, parseFloating } from '#core/rules/values/floats.ts';
import { define, type FunctionDefinition } from '#core/rules/values/functions.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';
import { parseFlag } from '#core/rules/values/text-input.ts';
import type { Json } from '#core/debezium-source/exact-json.ts';

/** Digits behind the point that a result may be asked for. */
const MOST_SCALE = 1000n;

/** Roundings are half away from zero, as numeric's are. */
export const NUMBER_FUNCTIONS: readonly FunctionDefinition[] = [
  define('int', ['int'], 'int', (value) => value ?? null),
  define('int', ['decimal'], 'int', (value) => fitInt(wholeOf(dec(value)), 'int8')),
  define('int', ['double'], 'int', (value) => fitInt(nearestEven(value as number), 'int8')),
  define('int', ['string'], 'int', (value) => fitInt(parseInteger(value as string, 'int8'), 'int8')),
  define('int', ['bool'], 'int', (value) => (value === true ? 1n : 0n)),
  define('int', ['json'], 'int', (value) => {
    const number = ofJson(value, 'decimal') as Decimal | null;
    return number === null ? null : fitInt(wholeOf(number), 'int8');
  }),
  define('decimal', [['int', 'decimal']], 'decimal', (value) => dec(value)),
  define('decimal', ['double'], 'decimal', (value) => Decimal.parse(decimalText(value as number, 'float8'))),
  define('decimal', ['string'], 'decimal', (value) => parseNumeric(value as string)),
  define('decimal', ['json'], 'decimal', (value) => ofJson(value, 'decimal')),
  define('double', ['double'], 'double', (value) => value ?? null),
  define('double', [['int', 'decimal']], 'double', (value) => parseFloating(dec(value).toString(), 'float8')),
  define('double', ['string'], 'double', (value) => parseFloating(value as string, 'float8')),
  define('double', ['json'], 'double', (value) => {
    const number = ofJson(value, 'decimal') as Decimal | null;
    return number === null ? null : parseFloating(number.toString(), 'float8');
  }),
  define('bool', ['bool'], 'bool', (value) => value ?? null),
  define('bool', ['string'], 'bool', (value) => parseFlag(value as string)),
  define('bool', ['int'], 'bool', (value) => value !== 0n),
  define('bool', ['json'], 'bool', (value) => ofJson(value, 'bool')),
  define('round', ['decimal'], 'decimal', (value) => dec(value).round(0)),
  define('round', ['decimal', 'int'], 'decimal', (value, scale) => dec(value).round(scaleOf(scale))),
  define('trunc', ['decimal'], 'decimal', (value) => dec(value).truncate(0)),
  define('trunc', ['decimal', 'int'], 'decimal', (value, scale) => dec(value).truncate(scaleOf(scale))),
  define('floor', ['decimal'], 'decimal', (value) => dec(value).floor()),
  define('ceil', ['decimal'], 'decimal', (value) => dec(value).negate().floor().negate()),
  define('abs', ['int'], 'int', (value) =>
    fitInt((value as bigint) < 0n ? -(value as bigint) : (value as bigint), 'int8'),
  ),
  define('abs', ['decimal'], 'decimal', (value) => (dec(value).sign() < 0 ? dec(value).negate() : dec(value))),
  define('abs', ['double'], 'double', (value) => Math.abs(value as number)),
  define('sign', ['decimal'], 'int', (value) => signOf(dec(value))),
  define('div', ['decimal', 'decimal', 'int'], 'decimal', (above, below, scale) =>
    divide(dec(above), dec(below), scaleOf(scale)),
  ),
];

function dec(value: Value | undefined): Decimal {
  return decimalOf(value as bigint | Decimal);
}

function scaleOf(value: Value | undefined): number {
  const scale = value as bigint;
  if (scale > MOST_SCALE || scale < -MOST_SCALE)
    throw new RuleFailure('out_of_range', `a scale is -${MOST_SCALE} to ${MOST_SCALE}`);
  return Number(scale);
}

function signOf(value: Decimal): bigint {
  const sign = value.sign();
  if (Number.isNaN(sign)) throw new RuleFailure('not_finite', 'NaN has no sign');
  return BigInt(sign);
}

function divide(above: Decimal, below: Decimal, scale: number): Decimal {
  if (above.special !== null || below.special !== null) return (above.dividedBy(below) ?? byZero()).round(scale);
  if (below.sign() === 0) return byZero();
  return scale >= 0
    ? above.dividedAt(below, scale)
    : above.dividedAt(below.times(powerOfTen(-scale)), 0).times(powerOfTen(-scale));
}

function powerOfTen(exponent: number): Decimal {
  return Decimal.ofInt(10n ** BigInt(exponent));
}

function byZero(): never {
  throw new RuleFailure('division_by_zero', 'a division by zero');
}

function ofJson(value: Value | undefined, kind: 'decimal' | 'bool'): Decimal | boolean | null {
  const found = jsonAs(value as Json, kind);
  if (found === undefined) throw new RuleFailure('wrong_type', `a value inside JSON is no ${kind}`);
  return found as Decimal | boolean | null;
}
