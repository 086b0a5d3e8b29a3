import type { Environment } from '@marcbachmann/cel-js';

type Special = 'NaN' | 'Infinity' | '-Infinity';

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
    if (this.special === null && other.special === null)
      return new Decimal(this.unscaled * other.unscaled, this.scale + other.scale);
    const sign = this.#sign() * other.#sign();
    return new Decimal(0n, 0, Number.isNaN(sign) || sign === 0 ? 'NaN' : sign > 0 ? 'Infinity' : '-Infinity');
  }

  negate(): Decimal {
    if (this.special === null) return new Decimal(-this.unscaled, this.scale);
    if (this.special === 'NaN') return this;
    return new Decimal(0n, 0, this.special === 'Infinity' ? '-Infinity' : 'Infinity');
  }

  #at(scale: number): bigint {
    return this.unscaled * 10n ** BigInt(scale - this.scale);
  }

  #sign(): number {
    if (this.special !== null) return this.special === 'NaN' ? Number.NaN : rank(this);
    return this.unscaled === 0n ? 0 : this.unscaled > 0n ? 1 : -1;
  }
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

type Operand = Decimal | bigint | number;

const COMPARISONS: Readonly<Record<string, (order: number) => boolean>> = {
  '<': (order) => order < 0,
  '<=': (order) => order <= 0,
  '>': (order) => order > 0,
  '>=': (order) => order >= 0,
};
const SUMS: Readonly<Record<string, (left: Decimal, right: Decimal) => Decimal>> = {
  '+': (left, right) => left.plus(right),
  '-': (left, right) => left.minus(right),
  '*': (left, right) => left.times(right),
};

/** Adds the type `decimal` to CEL: compared with, added to and multiplied by itself, int and double, whose shortest text is meant. */
export function registerDecimal(environment: Environment): Environment {
  environment.registerType('decimal', Decimal);
  const pairs = [
    ['decimal', 'decimal'],
    ['decimal', 'int'],
    ['int', 'decimal'],
    ['decimal', 'double'],
    ['double', 'decimal'],
  ] as const;
  for (const [left, right] of pairs) {
    for (const [operator, holds] of Object.entries(COMPARISONS)) {
      environment.registerOperator(`${left} ${operator} ${right}`, (a: Operand, b: Operand) =>
        holds(toDecimal(a).compare(toDecimal(b))),
      );
    }
    for (const [operator, sum] of Object.entries(SUMS)) {
      environment.registerOperator(`${left} ${operator} ${right}: decimal`, (a: Operand, b: Operand) =>
        sum(toDecimal(a), toDecimal(b)),
      );
    }
    // The other order of == and both of != come with it.
    if (left === 'decimal')
      environment.registerOperator(
        `decimal == ${right}`,
        (a: Operand, b: Operand) => toDecimal(a).compare(toDecimal(b)) === 0,
      );
  }
  return environment;
}

function toDecimal(value: Operand): Decimal {
  return value instanceof Decimal ? value : Decimal.parse(String(value));
}
