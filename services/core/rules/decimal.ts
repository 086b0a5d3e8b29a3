/** A numeric value, exact: unscaled × 10^−scale, or NaN or an infinity. PostgreSQL orders NaN above every number, equal to itself. */
export class Decimal {
  readonly unscaled: bigint;
  readonly scale: number;
  readonly special: 'NaN' | 'Infinity' | '-Infinity' | null;

  constructor(unscaled: bigint, scale: number, special: Decimal['special'] = null) {
    this.unscaled = unscaled;
    this.scale = scale;
    this.special = special;
  }

  /** numeric's text, or a number's shortest text, exponents too. @throws RangeError. */
  static parse(text: string): Decimal {
    if (text === 'NaN' || text === 'Infinity' || text === '-Infinity') return new Decimal(0n, 0, text);
    const match = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/.exec(text);
    if (match === null) throw new RangeError(`not a number: ${JSON.stringify(text)}`);
    const [, sign = '', whole = '', fraction = '', exponent = '0'] = match;
    const scale = fraction.length - Number(exponent);
    const digits = BigInt(`${sign}${whole}${fraction}`);
    return scale >= 0 ? new Decimal(digits, scale) : new Decimal(digits * 10n ** BigInt(-scale), 0);
  }

  compare(other: Decimal): number {
    if (this.special !== null || other.special !== null) return rank(this) - rank(other);
    const scale = Math.max(this.scale, other.scale);
    const left = this.unscaled * 10n ** BigInt(scale - this.scale);
    const right = other.unscaled * 10n ** BigInt(scale - other.scale);
    return left < right ? -1 : left > right ? 1 : 0;
  }
}

function rank(value: Decimal): number {
  switch (value.special) {
    case '-Infinity':
      return -1;
    case null:
      return 0;
    case 'Infinity':
      return 1;
    case 'NaN':
      return 2;
  }
}
