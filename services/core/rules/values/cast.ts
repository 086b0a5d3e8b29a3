import { RestageError } from '#core/errors.ts';
import { mapArray } from '#core/rules/values/array-text.ts';
import { Decimal } from '#core/rules/values/decimal.ts';
import { fitInt, isIntType, makeNumericFit, makeTextFit, wholeOf, type IntType } from '#core/rules/values/fit.ts';
import {
  decimalText,
  exactDecimal,
  floatingText,
  parseFloating,
  toFloating,
  type FloatType,
} from '#core/rules/values/floats.ts';
import { jsonbText, parseJsonText } from '#core/rules/values/json-text.ts';
import {
  clockOfMoment,
  clockText,
  dayOfMoment,
  dayText,
  momentOfDay,
  momentText,
  parseClock,
  parseDay,
  parseMoment,
  roundClock,
  roundMoment,
} from '#core/rules/values/moments.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';
import { parseBytes, parseFlag, parseUuid } from '#core/rules/values/text-input.ts';
import { builtInName, elementOf, isSameType, type ValueType } from '#core/rules/values/value-types.ts';

/** From PostgreSQL's text of one type to that of another. NULL stays NULL. @throws RuleFailure for a value that does not fit. */
export type Cast = (text: string | null) => string | null;

type TextCast = (text: string) => string;

const TEXTS: ReadonlySet<string> = new Set(['text', 'varchar', 'bpchar', 'name']);

/**
 * Exact and canonical: what PostgreSQL itself gives for the cast, but that a text too long for its type fails instead of being cut, and
 * dates and times are read in ISO form alone. Zones are UTC. @throws RestageError rule_invalid for a cast without meaning.
 */
export function compileCast(from: ValueType, to: ValueType, where: string): Cast {
  const cast = findCast(from, to);
  if (cast === null)
    throw new RestageError('rule_invalid', `a ${from.type} cannot be cast to ${to.type}`, {
      where,
      fix: 'cast to text, or compute the value by an expression',
    });
  return (text) => (text === null ? null : cast(text));
}

function findCast(from: ValueType, to: ValueType): TextCast | null {
  if (isSameType(from, to)) return (text) => text;
  const name = builtInName(to);
  if (name !== null && TEXTS.has(name)) return castToText(from, to);
  const [ofFrom, ofTo] = [elementOf(from), elementOf(to)];
  if (ofTo !== null) {
    const source = ofFrom ?? (TEXTS.has(builtInName(from) ?? '') ? from : null);
    const cast = source === null ? null : findCast(source, ofTo);
    return cast === null ? null : (text) => mapArray(text, (element) => (element === null ? null : cast(element)));
  }
  const source = builtInName(from);
  if (source === null || name === null) return null;
  // Spaces at the end of a character(n) are no part of its value.
  const read: TextCast = source === 'bpchar' ? (text) => text.replace(/ +$/, '') : (text) => text;
  const cast = castTo(TEXTS.has(source) ? 'text' : source, to, name);
  return cast === null ? null : (text) => cast(read(text));
}

function castToText(from: ValueType, to: ValueType): TextCast {
  const fit = makeTextFit(to);
  switch (builtInName(from)) {
    case 'bool':
      return (text) => fit(text === 't' || text === 'true' ? 'true' : 'false');
    case 'bpchar':
      return (text) => fit(text.replace(/ +$/, ''));
    default:
      return fit;
  }
}

function castTo(from: string, to: ValueType, name: string): TextCast | null {
  if (isIntType(name)) return castToInt(from, name);
  switch (name) {
    case 'numeric':
      return castToNumeric(from, to.modifiers);
    case 'float4':
    case 'float8':
      return castToFloat(from, name);
    case 'bool':
      return from === 'text'
        ? (text) => (parseFlag(text) ? 't' : 'f')
        : isIntType(from)
          ? (text) => (text === '0' ? 'f' : 't')
          : null;
    case 'date':
    case 'time':
    case 'timestamp':
    case 'timestamptz':
      return castToTime(from, name, to.modifiers);
    case 'uuid':
      return from === 'text' ? parseUuid : null;
    case 'bytea':
      return from === 'text' ? parseBytes : null;
    case 'json':
      return from === 'text' ? checkJson : from === 'jsonb' ? (text) => text : null;
    case 'jsonb':
      return from === 'text' || from === 'json' ? (text) => jsonbText(parseJsonText(text)) : null;
    default:
      return from === name && to.modifiers === '' ? (text) => text : null;
  }
}

function castToInt(from: string, type: IntType): TextCast | null {
  if (isIntType(from)) return (text) => String(fitInt(BigInt(text), type));
  switch (from) {
    case 'bool':
      return (text) => (text === 't' || text === 'true' ? '1' : '0');
    case 'numeric':
      return (text) => String(fitInt(wholeOf(Decimal.parse(text)), type));
    case 'float4':
    case 'float8':
      return (text) => String(fitInt(nearestEven(parseFloating(text, from)), type));
    case 'text':
      return (text) => String(fitInt(parseInteger(text, type), type));
    default:
      return null;
  }
}

function castToNumeric(from: string, modifiers: string): TextCast | null {
  const fit = makeNumericFit(modifiers);
  if (isIntType(from) || from === 'numeric') return (text) => fit(Decimal.parse(text)).toString();
  if (from === 'float4' || from === 'float8')
    return (text) => fit(Decimal.parse(decimalText(parseFloating(text, from), from))).toString();
  return from === 'text' ? (text) => fit(parseNumeric(text)).toString() : null;
}

function castToFloat(from: string, type: FloatType): TextCast | null {
  // From a float4 its value, not its text: 0.1 as float4 is 0.10000000149011612.
  if (from === 'float4' || from === 'float8')
    return (text) => floatingText(toFloating(parseFloating(text, from), type), type);
  if (isIntType(from) || from === 'numeric' || from === 'text')
    return (text) => floatingText(parseFloating(text, type), type);
  return null;
}

function castToTime(
  from: string,
  type: 'date' | 'time' | 'timestamp' | 'timestamptz',
  modifiers: string,
): TextCast | null {
  const digits = modifiers === '' ? 6 : Number(modifiers);
  if (type === 'time') {
    const write = (micros: bigint): string => clockText(roundClock(micros, digits));
    if (from === 'text' || from === 'time') return (text) => write(parseClock(text));
    return isMoment(from) ? (text) => write(clockOfMoment(parseMoment(text, from === 'timestamptz'))) : null;
  }
  if (type === 'date') {
    if (from === 'text') return (text) => dayText(parseDay(text));
    return isMoment(from) ? (text) => dayText(dayOfMoment(parseMoment(text, from === 'timestamptz'))) : null;
  }
  const hasZone = type === 'timestamptz';
  const write = (micros: bigint): string => momentText(roundMoment(micros, digits), hasZone);
  if (from === 'text') return (text) => write(parseMoment(text, hasZone));
  if (from === 'date') return (text) => write(momentOfDay(parseDay(text)));
  return isMoment(from) ? (text) => write(parseMoment(text, from === 'timestamptz')) : null;
}

function isMoment(name: string): boolean {
  return name === 'timestamp' || name === 'timestamptz';
}

export function parseInteger(text: string, type: IntType): bigint {
  const match = /^\s*([+-]?)(\d{1,40})\s*$/.exec(text);
  if (match === null) throw new RuleFailure('invalid_text', `a text is no ${type}`);
  const magnitude = BigInt(match[2] ?? '');
  return match[1] === '-' ? -magnitude : magnitude;
}

export function parseNumeric(text: string): Decimal {
  const trimmed = text.trim();
  const special = /^([+-]?)(inf|infinity)$/i.exec(trimmed);
  if (special !== null) return Decimal.parse(special[1] === '-' ? '-Infinity' : 'Infinity');
  if (/^nan$/i.test(trimmed)) return Decimal.parse('NaN');
  try {
    return Decimal.parse(trimmed);
  } catch {
    throw new RuleFailure('invalid_text', 'a text is no numeric');
  }
}

/** As float8 becomes an integer in PostgreSQL: halves to the even neighbour (C: rint). */
export function nearestEven(value: number): bigint {
  if (!Number.isFinite(value)) throw new RuleFailure('not_finite', 'only finite numbers become integers');
  const floor = Math.floor(value);
  const rest = exactDecimal(value).minus(exactDecimal(floor)).compare(new Decimal(5n, 1));
  const whole = BigInt(floor);
  return rest > 0 || (rest === 0 && whole % 2n !== 0n) ? whole + 1n : whole;
}

function checkJson(text: string): string {
  parseJsonText(text);
  return text;
}
