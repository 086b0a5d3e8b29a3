import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from '#core/crc32c.ts';

describe('CRC-32C', () => {
  it.each([
    ['', 0],
    ['123456789', 0xe3069283],
    ['a', 0xc1d04330],
  ])('of %j is the published one', (text, expected) => {
    expect(crc32c(Buffer.from(text))).toBe(expected);
  });

  // RFC 3720, appendix B.4.
  it('of 32 zeros and of 32 ones is the one in RFC 3720', () => {
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
    expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43);
  });

  it('of eight bytes a step is that of one bit a step, wherever it begins', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, skip) => {
        const from = Math.min(skip, bytes.length);
        expect(crc32c(Buffer.from(bytes), from)).toBe(bitwise(bytes.subarray(from)));
      }),
    );
  });
});

function bitwise(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}
