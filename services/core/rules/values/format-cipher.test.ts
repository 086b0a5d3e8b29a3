import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FormatCipher } from '#core/rules/values/format-cipher.ts';

const KEY = '2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94';
const TWEAK = '39383736353433323130';
const LONG_TWEAK = '3737373770717273373737';

/** NIST: "FF1 Samples", Cryptographic Standards and Guidelines, examples with intermediate values. */
describe('FormatCipher', () => {
  it.each([
    [16, 10, '', '0123456789', '2433477484'],
    [16, 10, TWEAK, '0123456789', '6124200773'],
    [16, 36, LONG_TWEAK, '0123456789abcdefghi', 'a9tv40mll9kdu509eum'],
    [24, 10, '', '0123456789', '2830668132'],
    [24, 10, TWEAK, '0123456789', '2496655549'],
    [24, 36, LONG_TWEAK, '0123456789abcdefghi', 'xbj3kv35jrawxv32ysr'],
    [32, 10, '', '0123456789', '6657667009'],
    [32, 10, TWEAK, '0123456789', '1001623463'],
    [32, 36, LONG_TWEAK, '0123456789abcdefghi', 'xs8a0azh2avyalyzuwd'],
  ])('gives the published sample for AES of %i bytes, radix %i, tweak %s', (size, radix, tweak, plain, expected) => {
    const cipher = new FormatCipher(Buffer.from(KEY, 'hex').subarray(0, size));
    const found = cipher.permute(numberOf(plain, radix), radix, plain.length, Buffer.from(tweak, 'hex'));
    expect(found.toString(radix).padStart(plain.length, '0')).toBe(expected);
  });

  it('is a permutation below any limit', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.uint8Array({ maxLength: 20 }), (limit, tweak) => {
        const cipher = new FormatCipher(Buffer.from(KEY, 'hex'));
        const all = Array.from({ length: limit }, (_, value) =>
          cipher.permuteBelow(BigInt(value), BigInt(limit), Buffer.from(tweak)),
        );
        return new Set(all).size === limit && all.every((value) => value < BigInt(limit));
      }),
      { numRuns: 20 },
    );
  });
});

function numberOf(digits: string, radix: number): bigint {
  return Array.from(digits).reduce((sum, digit) => sum * BigInt(radix) + BigInt(Number.parseInt(digit, radix)), 0n);
}
