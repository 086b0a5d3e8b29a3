type Special = 'NaN' | 'Infinity' | '-Infinity';

/** Decimal digits of one of PostgreSQL's own (numeric.c: DEC_DIGITS, NUMERIC_MIN_SIG_DIGITS, NUMERIC_MAX_DISPLAY_SCALE). */
const GROUP = 4;
const LEAST_DIGITS = 16;
const MOST_SCALE = 1000;
/** Digits before and behind the point that a numeric without modifiers holds (PostgreSQL: "Numeric Types"). */
const MOST_WHOLE = 131_072;
const MOST_FRACTION = 16_383;

/** A numeric value, exact: unscaled × 10^−scale, or NaN or an infinity. PostgreSQL orders NaN above every number, equal to itself. */
export class Decimal {
  readonly unscaled: bigint;
  readonly scale: number;
  readonly special: Special | null;

  constructor(unscaled: bigint, scale: number, special: Special | null = null) {
    this.unscaled = unscaled;
    this.scale = scale;
    this.special = special;
  }

  /** numeric's text, or a number's shortest text, exponents too. @throws RangeError that does not hold the text. */
  static parse(text: string): Decimal {
    if (text === 'NaN' || text === 'Infinity' || text === '-Infinity') return new Decimal(0n, 0, text);
    const match = /^([+-]?)(?=\.?\d)(\d*)(?:\.(\d*))?(?:e([+-]?\d{1,9}))?$/i.exec(text);
    if (match === null) throw new RangeError('not a number');
    const [, sign = '', whole = '', fraction = '', exponent = '0'] = match;
    const scale = fraction.length - Number(exponent);
    if (scale > MOST_FRACTION || whole.length + Number(exponent) > MOST_WHOLE)
      throw new RangeError('more digits than numeric holds');
    const magnitude = BigInt(`${whole}${fraction}`);
    const digits = sign === '-' ? -magnitude : magnitude;
    return scale >= 0 ? new Decimal(digits, scale) : new Decimal(digits * 10n ** BigInt(-scale), 0);
  }

  static ofInt(value: bigint): Decimal {
    return new Decimal(value, 0);
  }

  /** numeric's text: as many digits behind the point as the scale says. */
  toString(): string {
    if (this.special !== null) return this.special;
    const sign = this.unscaled < 0n ? '-' : '';
    const digits = String(magnitudeOf(this.unscaled)).padStart(this.scale + 1, '0');
    const point = digits.length - this.scale;
    return this.scale === 0 ? `${sign}${digits}` : `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
  }

  compare(other: Decimal): number {
    if (this.special !== null || other.special !== null) return rank(this) - rank(other);
    const scale = Math.max(this.scale, other.scale);
    const [left, right] = [this.#at(scale), other.#at(scale)];
    return left < right ? -1 : left > right ? 1 : 0;
  }

  plus(other: Decimal): Decimal {
    if (this.special !== null || other.special !== null) return addSpecial(this, other);
    const scale = Math.max(this.scale, other.scale);
    return new Decimal(this.#at(scale) + other.#at(scale), scale);
  }

  minus(other: Decimal): Decimal {
    return this.plus(other.negate());
  }

  times(other: Decimal): Decimal {
    if (this.special === null && other.special === null) {
      const product = new Decimal(this.unscaled * other.unscaled, this.scale + other.scale);
      return product.scale > MOST_FRACTION ? product.round(MOST_FRACTION) : product;
    }
    const sign = this.sign() * other.sign();
    return new Decimal(0n, 0, Number.isNaN(sign) || sign === 0 ? 'NaN' : sign > 0 ? 'Infinity' : '-Infinity');
  }

  /**
   * As numeric divides: at least 16 significant digits, never fewer behind the point than either operand has (numeric.c:
   * select_div_scale), rounded half away from zero. null for a division by zero.
   */
  dividedBy(other: Decimal): Decimal | null {
    if (this.special === 'NaN' || other.special === 'NaN') return new Decimal(0n, 0, 'NaN');
    if (other.sign() === 0) return null;
    if (this.special !== null)
      return new Decimal(
        0n,
        0,
        other.special !== null ? 'NaN' : this.sign() * other.sign() > 0 ? 'Infinity' : '-Infinity',
      );
    if (other.special !== null) return new Decimal(0n, 0);
    return this.dividedAt(other, divisionScale(this, other));
  }

  /** The quotient of two finite numbers at a scale, rounded half away from zero. */
  dividedAt(other: Decimal, scale: number): Decimal {
    const shift = scale + other.scale - this.scale;
    const [above, below] =
      shift >= 0
        ? [this.unscaled * 10n ** BigInt(shift), other.unscaled]
        : [this.unscaled, other.unscaled * 10n ** BigInt(-shift)];
    return new Decimal(divideRounded(above, below), scale);
  }

  /** The rest of a truncated division, with the dividend's sign. null for a division by zero. */
  remainder(other: Decimal): Decimal | null {
    if (this.special === 'NaN' || other.special === 'NaN') return new Decimal(0n, 0, 'NaN');
    if (other.sign() === 0) return null;
    if (this.special !== null) return new Decimal(0n, 0, 'NaN');
    if (other.special !== null) return this;
    const scale = Math.max(this.scale, other.scale);
    return new Decimal(this.#at(scale) % other.#at(scale), scale);
  }

  negate(): Decimal {
    if (this.special === null) return new Decimal(-this.unscaled, this.scale);
    if (this.special === 'NaN') return this;
    return new Decimal(0n, 0, this.special === 'Infinity' ? '-Infinity' : 'Infinity');
  }

  /** To `scale` digits behind the point (before it where negative), half away from zero. The result's own scale is never negative. */
  round(scale: number): Decimal {
    return this.#reduced(scale, divideRounded);
  }

  truncate(scale: number): Decimal {
    return this.#reduced(scale, (above, below) => above / below);
  }

  floor(): Decimal {
    const whole = this.truncate(0);
    return whole.compare(this) > 0 ? whole.minus(Decimal.ofInt(1n)) : whole;
  }

  /** −1, 0 or 1; NaN for NaN. */
  sign(): number {
    if (this.special !== null) return this.special === 'NaN' ? Number.NaN : this.special === 'Infinity' ? 1 : -1;
    return this.unscaled === 0n ? 0 : this.unscaled > 0n ? 1 : -1;
  }

  /** Whether a numeric without modifiers holds it. */
  fits(): boolean {
    return this.scale <= MOST_FRACTION && String(magnitudeOf(this.unscaled)).length - this.scale <= MOST_WHOLE;
  }

  #reduced(scale: number, divide: (above: bigint, below: bigint) => bigint): Decimal {
    if (this.special !== null) return this;
    if (scale >= this.scale) return new Decimal(this.#at(scale), scale);
    const kept = divide(this.unscaled, 10n ** BigInt(this.scale - scale));
    return scale >= 0 ? new Decimal(kept, scale) : new Decimal(kept * 10n ** BigInt(-scale), 0);
  }

  #at(scale: number): bigint {
    return this.unscaled * 10n ** BigInt(scale - this.scale);
  }
}

/** Half away from zero. */
function divideRounded(above: bigint, below: bigint): bigint {
  const isNegative = above < 0n !== below < 0n;
  const divisor = magnitudeOf(below);
  const rounded = (magnitudeOf(above) * 2n + divisor) / (divisor * 2n);
  return isNegative ? -rounded : rounded;
}

function divisionScale(above: Decimal, below: Decimal): number {
  const [left, right] = [firstGroup(above), firstGroup(below)];
  const weight = left.weight - right.weight - (left.digit <= right.digit ? 1 : 0);
  const scale = Math.max(LEAST_DIGITS - weight * GROUP, above.scale, below.scale, 0);
  return Math.min(scale, MOST_SCALE);
}

/** The first of PostgreSQL's base-10,000 digits that is not zero, and its weight. */
function firstGroup({ unscaled, scale }: Decimal): { readonly weight: number; readonly digit: number } {
  if (unscaled === 0n) return { weight: 0, digit: 0 };
  const digits = String(magnitudeOf(unscaled));
  // The first digit stands for 10^place.
  const place = digits.length - scale - 1;
  const weight = Math.floor(place / GROUP);
  return { weight, digit: Number(digits.slice(0, place - weight * GROUP + 1).padEnd(place - weight * GROUP + 1, '0')) };
}

function magnitudeOf(value: bigint): bigint {
  return value < 0n ? -value : value;
}

/** Opposite infinities give NaN (PostgreSQL: "Arbitrary Precision Numbers"). */
function addSpecial(left: Decimal, right: Decimal): Decimal {
  if (left.special === 'NaN' || right.special === 'NaN') return new Decimal(0n, 0, 'NaN');
  if (left.special === null || right.special === null) return left.special === null ? right : left;
  return left.special === right.special ? left : new Decimal(0n, 0, 'NaN');
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
