/** An exact decimal: unscaled × 10^−scale. */
export interface Decimal {
  readonly unscaled: bigint;
  readonly scale: number;
}

/** PostgreSQL's text of a numeric. null for NaN and the infinities. */
export function parseDecimal(text: string): Decimal | null {
  const match = /^(-?)(\d*)(?:\.(\d*))?$/.exec(text);
  if (match === null || text === '' || text === '-') return null;
  const [, sign = '', whole = '', fraction = ''] = match;
  const unscaled = BigInt(`${whole}${fraction}` || '0');
  return { unscaled: sign === '-' ? -unscaled : unscaled, scale: fraction.length };
}

/** The same number at another scale; digits that do not fit are cut, and none are where PostgreSQL has rounded to the column's scale. */
export function unscaledAt({ unscaled, scale }: Decimal, wanted: number): bigint {
  return wanted >= scale ? unscaled * 10n ** BigInt(wanted - scale) : unscaled / 10n ** BigInt(scale - wanted);
}

/** Without trailing zeros behind the point; never a negative scale. */
export function stripZeros({ unscaled, scale }: Decimal): Decimal {
  let digits = unscaled;
  let left = scale;
  while (left > 0 && digits % 10n === 0n) {
    digits /= 10n;
    left -= 1;
  }
  return { unscaled: digits, scale: left };
}

/** Big-endian two's complement in as few bytes as hold it, as Java's BigInteger writes it. */
export function integerBytes(value: bigint): Buffer {
  const magnitude = value < 0n ? ~value : value;
  const hex = magnitude.toString(16);
  // One bit more than the magnitude, for the sign.
  const bytes = Math.floor(((hex.length - 1) * 4 + bitsOf(hex)) / 8) + 1;
  const text = BigInt.asUintN(bytes * 8, value)
    .toString(16)
    .padStart(bytes * 2, '0');
  return Buffer.from(text, 'hex');
}

function bitsOf(hex: string): number {
  const first = Number.parseInt(hex.charAt(0), 16);
  return first === 0 ? 0 : 32 - Math.clz32(first);
}
