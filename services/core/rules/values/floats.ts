import { Decimal } from '#core/rules/values/decimal.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';

/** float4 or float8: how many digits PostgreSQL prints before it takes an exponent. */
const PLAIN_DIGITS = { float4: 6, float8: 15 } as const;
const FLOAT4_MOST = 9;

export type FloatType = keyof typeof PLAIN_DIGITS;

/** What the type's input function takes (PostgreSQL: "Floating-Point Types"). @throws RuleFailure. */
export function parseFloating(text: string, type: FloatType): number {
  const trimmed = text.trim();
  const special = /^([+-]?)(inf|infinity)$/i.exec(trimmed);
  if (special !== null) return special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (/^nan$/i.test(trimmed)) return Number.NaN;
  if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(trimmed))
    throw new RuleFailure('invalid_text', `a text is no ${type}`);
  const double = Number(trimmed);
  if (!Number.isFinite(double) || (double === 0 && /[1-9]/.test(trimmed.replace(/e.*$/i, '')))) throw outOfRange(type);
  return type === 'float8' ? double : roundOnce(trimmed, double);
}

/** A decimal's nearest float4: by way of float8 it would be rounded twice. */
function roundOnce(text: string, double: number): number {
  const rounded = toFloating(double, 'float4');
  const other = neighbour(rounded, double > rounded);
  if (double === rounded || Math.abs(double - rounded) !== Math.abs(other - double)) return rounded;
  // The float8 stands right between two float4: what was rounded off decides.
  const side = Decimal.parse(text).compare(exactDecimal(double));
  if (side === 0) return rounded;
  return side > 0 === other > rounded ? other : rounded;
}

/** The next float4 above or below. */
function neighbour(value: number, isAbove: boolean): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  const bits = view.getInt32(0);
  if (value === 0) return isAbove ? 2 ** -149 : -(2 ** -149);
  view.setInt32(0, value > 0 === isAbove ? bits + 1 : bits - 1);
  return view.getFloat32(0);
}

/** A finite float8 as the decimal that it is. */
export function exactDecimal(value: number): Decimal {
  let scale = 0;
  let size = value;
  // Doubling and halving are exact.
  while (!Number.isInteger(size)) {
    size *= 2;
    scale += 1;
  }
  // value = size / 2^scale = size × 5^scale / 10^scale
  return new Decimal(BigInt(size) * 5n ** BigInt(scale), scale);
}

/** The nearest value of the type. @throws RuleFailure where a finite number becomes infinite, or one that is not 0 becomes 0. */
export function toFloating(value: number, type: FloatType): number {
  if (type === 'float8') return value;
  const rounded = Math.fround(value);
  if ((Number.isFinite(value) && !Number.isFinite(rounded)) || (value !== 0 && rounded === 0)) throw outOfRange(type);
  return rounded;
}

/** The shortest text that reads back the same, as PostgreSQL prints it with extra_float_digits above 0. */
export function floatingText(value: number, type: FloatType): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity';
  if (value === 0) return Object.is(value, -0) ? '-0' : '0';
  const scientific = type === 'float8' ? value.toExponential() : shortestFloat4(value);
  const [, sign = '', first = '', rest = '', power = ''] = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(scientific) ?? [];
  const exponent = Number(power);
  const digits = `${first}${rest}`;
  if (exponent < -4 || exponent >= PLAIN_DIGITS[type]) {
    const size = String(Math.abs(exponent)).padStart(2, '0');
    return `${sign}${first}${rest === '' ? '' : `.${rest}`}e${exponent < 0 ? '-' : '+'}${size}`;
  }
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0');
  const fraction = digits.slice(exponent + 1);
  return `${sign}${whole}${fraction === '' ? '' : `.${fraction}`}`;
}

/** As a cast to numeric takes it: 15 significant digits of float8, 6 of float4 (numeric.c: float8_numeric). */
export function decimalText(value: number, type: FloatType): string {
  if (!Number.isFinite(value)) return floatingText(value, type);
  const text = value.toPrecision(PLAIN_DIGITS[type]);
  return text.includes('.') ? text.replace(/\.?0+(?=e|$)/, '') : text;
}

function shortestFloat4(value: number): string {
  for (let digits = 0; digits < FLOAT4_MOST; digits += 1) {
    const text = value.toExponential(digits);
    if (Math.fround(Number(text)) === value) return evenOf(text, value);
    // Below a power of two floats lie closer: the next text away from zero may read back where the nearest does not.
    const [mantissa = '', exponent = ''] = text.split('e');
    const next = `${bump(mantissa, 1n)}e${exponent}`;
    if (Math.fround(Number(next)) === value) return Number(next).toExponential(digits);
  }
  return value.toExponential(FLOAT4_MOST - 1);
}

/** Of two texts that are as near the even one is taken; toExponential takes the one away from zero (ECMAScript: Number.prototype.toExponential). */
function evenOf(text: string, value: number): string {
  const [mantissa = '', exponent = ''] = text.split('e');
  if (!/[13579]$/.test(mantissa)) return text;
  const lower = `${bump(mantissa, -1n)}e${exponent}`;
  const twice = exactDecimal(value).plus(exactDecimal(value));
  const isTie = Decimal.parse(text).plus(Decimal.parse(lower)).compare(twice) === 0;
  return isTie && Math.fround(Number(lower)) === value ? lower : text;
}

/** So much more in the last digit, away from zero. */
function bump(mantissa: string, by: bigint): string {
  const places = mantissa.split('.')[1]?.length ?? 0;
  const sign = mantissa.startsWith('-') ? '-' : '';
  const digits = String(BigInt(mantissa.replace(/[-.]/g, '')) + by).padStart(places + 1, '0');
  const point = digits.length - places;
  return places === 0 ? `${sign}${digits}` : `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}

function outOfRange(type: FloatType): RuleFailure {
  return new RuleFailure('out_of_range', `a number is out of the range of ${type}`);
}
