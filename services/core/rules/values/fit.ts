import { Decimal } from '#core/rules/values/decimal.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';
import type { ValueType } from '#core/rules/values/value-types.ts';

/** What a type holds: values are brought into it as an assignment in PostgreSQL brings them, or fail. Never wrapped, never cut. */

export type IntType = 'int2' | 'int4' | 'int8';

const INT_BITS: Readonly<Record<IntType, bigint>> = { int2: 15n, int4: 31n, int8: 63n };

export function isIntType(name: string | null): name is IntType {
  return name !== null && Object.hasOwn(INT_BITS, name);
}

export function fitInt(value: bigint, type: IntType): bigint {
  const limit = 1n << INT_BITS[type];
  if (value >= limit || value < -limit)
    throw new RuleFailure('out_of_range', `a number is out of the range of ${type}`);
  return value;
}

/** Rounded half away from zero, as numeric does on its way to an integer. */
export function wholeOf(value: Decimal): bigint {
  if (value.special !== null) throw new RuleFailure('not_finite', 'only finite numbers become integers');
  return value.round(0).unscaled;
}

/** To the type's scale, half away from zero, then held against its precision (PostgreSQL: "Arbitrary Precision Numbers"). */
export function makeNumericFit(modifiers: string): (value: Decimal) => Decimal {
  if (modifiers === '') {
    return (value) => {
      if (!value.fits()) throw new RuleFailure('out_of_range', 'a number has more digits than numeric holds');
      return value;
    };
  }
  const [precision = 0, scale = 0] = modifiers.split(',').map(Number);
  const limit = new Decimal(10n ** BigInt(Math.max(precision - scale, 0)), 0);
  const small = precision < scale ? new Decimal(1n, scale - precision) : limit;
  return (value) => {
    if (value.special === 'NaN') return value;
    if (value.special !== null) throw new RuleFailure('not_finite', 'a numeric with a precision holds no infinity');
    const rounded = value.round(scale);
    const size = rounded.sign() < 0 ? rounded.negate() : rounded;
    if (size.compare(small) >= 0)
      throw new RuleFailure('out_of_range', `a number is out of the range of numeric(${modifiers})`);
    return rounded;
  };
}

/** What text, varchar and character take; spaces that are too many are cut, as the standard has it, anything else fails. */
export function makeTextFit({ typeName, modifiers }: ValueType): (text: string) => string {
  if (typeName === 'name') {
    return (text) => {
      if (Buffer.byteLength(text, 'utf8') > 63) throw new RuleFailure('too_long', 'a text is longer than name holds');
      return text;
    };
  }
  if (modifiers === '') return (text) => text;
  const most = Number(modifiers);
  const isPadded = typeName === 'bpchar';
  return (text) => {
    // No text has more characters than UTF-16 units.
    const length = text.length <= most && !isPadded ? text.length : lengthOf(text);
    if (length > most) {
      const kept = Array.from(text).slice(0, most).join('');
      if (text.slice(kept.length).replaceAll(' ', '') !== '')
        throw new RuleFailure('too_long', `a text is longer than ${most} characters`);
      return kept;
    }
    return isPadded ? text + ' '.repeat(most - length) : text;
  };
}

/** Characters, not UTF-16 units. */
export function lengthOf(text: string): number {
  let length = text.length;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.codePointAt(index) ?? 0;
    if (code <= 0xff_ff) continue;
    length -= 1;
    index += 1;
  }
  return length;
}
