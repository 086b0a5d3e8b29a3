import { civilOf, DAY_MICROS, daysOf } from '#core/debezium/temporal-text.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';

/**
 * timestamp and timestamptz as microseconds since 1970-01-01 UTC, date as days since then, time as microseconds since midnight. The two
 * infinities are the ends of int64, as in PostgreSQL, so they order by themselves.
 */
export const INFINITE = 2n ** 63n - 1n;
export const MINUS_INFINITE = -(2n ** 63n);

/** PostgreSQL: "Date/Time Types", table 8.9. */
const FIRST_DAY = BigInt(daysOf(-4713, 11, 24));
const PAST_LAST_MOMENT = BigInt(daysOf(294_277, 1, 1)) * DAY_MICROS;
const PAST_LAST_DAY = BigInt(daysOf(5_874_898, 1, 1));
/** PostgreSQL counts from here, and rounds towards it. */
const ERA = BigInt(daysOf(2000, 1, 1)) * DAY_MICROS;

const DATE = String.raw`(\d{4,7})-(\d\d)-(\d\d)`;
const TIME = String.raw`(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?`;
const ZONE = String.raw`(?: ?(Z|UTC|[+-]\d\d(?::?\d\d(?::?\d\d)?)?))?`;
const MOMENT = new RegExp(`^${DATE}(?:[ T]${TIME}${ZONE})?( BC)?$`, 'i');
const DAY = new RegExp(`^${DATE}( BC)?$`, 'i');
const CLOCK = new RegExp(`^${TIME}$`);

export function isInfinite(value: bigint): boolean {
  return value === INFINITE || value === MINUS_INFINITE;
}

/** ISO text with at most six digits of a second; without a zone it is UTC. A zone where there is none to have is refused. */
export function parseMoment(text: string, hasZone: boolean): bigint {
  const trimmed = text.trim();
  const infinite = parseInfinite(trimmed);
  if (infinite !== null) return infinite;
  const match = MOMENT.exec(trimmed);
  if (match === null) throw unreadable(hasZone ? 'timestamptz' : 'timestamp');
  const [, year = '', month = '', day = '', hours = '0', minutes = '0', seconds, fraction, zone, era] = match;
  if (zone !== undefined && !hasZone) throw unreadable('timestamp');
  const days = readDay(year, month, day, era);
  return requireMoment(days * DAY_MICROS + readClock(hours, minutes, seconds, fraction) - offsetOf(zone));
}

export function parseDay(text: string): bigint {
  const trimmed = text.trim();
  const infinite = parseInfinite(trimmed);
  if (infinite !== null) return infinite;
  const match = DAY.exec(trimmed);
  if (match === null) throw unreadable('date');
  const [, year = '', month = '', day = '', era] = match;
  return requireDay(readDay(year, month, day, era));
}

export function parseClock(text: string): bigint {
  const match = CLOCK.exec(text.trim());
  if (match === null) throw unreadable('time');
  const [, hours = '', minutes = '', seconds, fraction] = match;
  return readClock(hours, minutes, seconds, fraction);
}

export function momentText(micros: bigint, hasZone: boolean): string {
  if (isInfinite(micros)) return micros > 0n ? 'infinity' : '-infinity';
  const days = floorDivide(micros, DAY_MICROS);
  const { date, era } = datePart(days);
  return `${date} ${clockText(micros - days * DAY_MICROS)}${hasZone ? '+00' : ''}${era}`;
}

export function dayText(days: bigint): string {
  if (isInfinite(days)) return days > 0n ? 'infinity' : '-infinity';
  const { date, era } = datePart(days);
  return `${date}${era}`;
}

export function clockText(micros: bigint): string {
  const seconds = micros / 1_000_000n;
  const fraction = String(micros % 1_000_000n)
    .padStart(6, '0')
    .replace(/0+$/, '');
  const clock = `${pad(seconds / 3600n)}:${pad((seconds / 60n) % 60n)}:${pad(seconds % 60n)}`;
  return fraction === '' ? clock : `${clock}.${fraction}`;
}

/** interval's text of a span that has neither months nor days. */
export function spanText(micros: bigint): string {
  return micros < 0n ? `-${clockText(-micros)}` : clockText(micros);
}

/** Midnight of a day. @throws RuleFailure for a day that timestamp does not reach. */
export function momentOfDay(days: bigint): bigint {
  return isInfinite(days) ? days : requireMoment(days * DAY_MICROS);
}

export function dayOfMoment(micros: bigint): bigint {
  return isInfinite(micros) ? micros : floorDivide(micros, DAY_MICROS);
}

/** Microseconds since midnight. @throws RuleFailure for an infinity. */
export function clockOfMoment(micros: bigint): bigint {
  requireFinite(micros);
  return micros - floorDivide(micros, DAY_MICROS) * DAY_MICROS;
}

/** To `digits` of a second: half away from the year 2000 (timestamp.c: AdjustTimestampForTypmod). */
export function roundMoment(micros: bigint, digits: number): bigint {
  return isInfinite(micros) ? micros : roundTo(micros - ERA, digits) + ERA;
}

export function roundClock(micros: bigint, digits: number): bigint {
  return roundTo(micros, digits);
}

export function shiftMoment(micros: bigint, by: bigint): bigint {
  return isInfinite(micros) ? micros : requireMoment(micros + by);
}

/** @throws RuleFailure for an infinity. */
export function requireFinite(value: bigint): bigint {
  if (isInfinite(value)) throw new RuleFailure('not_finite', 'an infinite time has no such part or distance');
  return value;
}

export function civilDay(micros: bigint): { readonly year: number; readonly month: number; readonly day: number } {
  return civilOf(Number(floorDivide(requireFinite(micros), DAY_MICROS)));
}

export function floorDivide(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  return value % by < 0n ? quotient - 1n : quotient;
}

function requireMoment(micros: bigint): bigint {
  if (micros < FIRST_DAY * DAY_MICROS || micros >= PAST_LAST_MOMENT)
    throw new RuleFailure('out_of_range', 'a time is out of the range of timestamp');
  return micros;
}

function requireDay(days: bigint): bigint {
  if (days < FIRST_DAY || days >= PAST_LAST_DAY)
    throw new RuleFailure('out_of_range', 'a day is out of the range of date');
  return days;
}

function roundTo(micros: bigint, digits: number): bigint {
  const unit = 10n ** BigInt(6 - digits);
  const half = unit / 2n;
  return micros >= 0n ? ((micros + half) / unit) * unit : -((-micros + half) / unit) * unit;
}

function parseInfinite(text: string): bigint | null {
  switch (text.toLowerCase()) {
    case 'infinity':
    case '+infinity':
      return INFINITE;
    case '-infinity':
      return MINUS_INFINITE;
    default:
      return null;
  }
}

function readDay(year: string, month: string, day: string, era: string | undefined): bigint {
  const civil = era === undefined ? Number(year) : 1 - Number(year);
  const days = daysOf(civil, Number(month), Number(day));
  const back = civilOf(days);
  // A day that the month does not have becomes another one; there is no year 0.
  if (Number(year) === 0 || back.year !== civil || back.month !== Number(month) || back.day !== Number(day))
    throw new RuleFailure('out_of_range', 'there is no such day');
  return BigInt(days);
}

function readClock(hours: string, minutes: string, seconds = '0', fraction = ''): bigint {
  if (/[^0]/.test(fraction.slice(6))) throw new RuleFailure('out_of_range', 'a second has more than six digits');
  const micros =
    (BigInt(hours) * 3600n + BigInt(minutes) * 60n + BigInt(seconds)) * 1_000_000n +
    BigInt(fraction.slice(0, 6).padEnd(6, '0'));
  if (micros > DAY_MICROS || Number(minutes) > 59 || Number(seconds) > 60)
    throw new RuleFailure('out_of_range', 'there is no such time of day');
  return micros;
}

function offsetOf(zone: string | undefined): bigint {
  const match = /^([+-])(\d\d):?(\d\d)?:?(\d\d)?$/.exec(zone ?? '');
  if (match === null) return 0n;
  const [, sign = '', hours = '', minutes = '0', seconds = '0'] = match;
  if (Number(hours) > 15 || Number(minutes) > 59 || Number(seconds) > 59) throw unreadable('timestamptz');
  const offset = (BigInt(hours) * 3600n + BigInt(minutes) * 60n + BigInt(seconds)) * 1_000_000n;
  return sign === '-' ? -offset : offset;
}

function datePart(days: bigint): { readonly date: string; readonly era: string } {
  const { year, month, day } = civilOf(Number(days));
  const digits = String(year > 0 ? year : 1 - year).padStart(4, '0');
  return { date: `${digits}-${pad(month)}-${pad(day)}`, era: year > 0 ? '' : ' BC' };
}

function pad(value: bigint | number): string {
  return String(value).padStart(2, '0');
}

function unreadable(type: string): RuleFailure {
  return new RuleFailure('invalid_text', `a text is no ${type} in ISO form`);
}
