import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Decimal } from '#core/rules/values/decimal.ts';

describe('Decimal', () => {
  it('compares values, not scales, and beyond what a double holds', () => {
    expect(Decimal.parse('1.50').compare(Decimal.parse('1.5'))).toBe(0);
    expect(Decimal.parse('0.1').compare(Decimal.parse('0.10000000000000000001'))).toBe(-1);
    expect(Decimal.parse('9007199254740993').compare(Decimal.parse('9007199254740992'))).toBe(1);
    expect(Decimal.parse('1e-7').compare(Decimal.parse('0.0000001'))).toBe(0);
  });

  it('orders NaN and the infinities as PostgreSQL does', () => {
    const order = ['-Infinity', '-1', '1e20', 'Infinity', 'NaN'].map((text) => Decimal.parse(text));
    for (const [index, value] of order.entries()) {
      for (const [other, right] of order.entries())
        expect(Math.sign(value.compare(right))).toBe(Math.sign(index - other));
    }
  });

  it('agrees with whole numbers', () => {
    fc.assert(
      fc.property(
        fc.bigInt(),
        fc.bigInt(),
        (a, b) => Decimal.parse(String(a)).compare(Decimal.parse(String(b))) === (a < b ? -1 : a > b ? 1 : 0),
      ),
    );
  });
});
