import { DAY_MICROS, daysOf } from '#core/debezium/temporal-text.ts';
import type { Value } from '#core/rules/values/expression-node.ts';
import { define, type FunctionDefinition } from '#core/rules/values/functions.ts';
import {
  civilDay,
  clockOfMoment,
  dayOfMoment,
  floorDivide,
  parseDay,
  parseMoment,
  requireFinite,
  shiftMoment,
} from '#core/rules/values/moments.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';

const SECOND = 1_000_000n;
/** Microseconds; what is finer than one is refused. */
const UNITS: Readonly<Record<string, bigint>> = {
  d: DAY_MICROS,
  h: 3600n * SECOND,
  m: 60n * SECOND,
  s: SECOND,
  ms: 1000n,
  us: 1n,
};
const TRUNCATED: Readonly<Record<string, bigint>> = {
  day: DAY_MICROS,
  hour: 3600n * SECOND,
  minute: 60n * SECOND,
  second: SECOND,
};

/** All in UTC; CEL's own names count months and days of the month from 0, the short ones as people do. An infinite time has no parts. */
export const TIME_FUNCTIONS: readonly FunctionDefinition[] = [
  define('timestamp', ['timestamp'], 'timestamp', (value) => value ?? null),
  define('timestamp', ['string'], 'timestamp', (value) => parseMoment(value as string, true)),
  define('timestamp', ['int'], 'timestamp', (seconds) => shiftMoment(0n, (seconds as bigint) * SECOND)),
  define('date', ['date'], 'date', (value) => value ?? null),
  define('date', ['timestamp'], 'date', (value) => dayOfMoment(moment(value))),
  define('date', ['string'], 'date', (value) => parseDay(value as string)),
  define('duration', ['string'], 'duration', (value) => parseSpan(value as string)),
  define('year', ['timestamp'], 'int', (value) => BigInt(civilDay(moment(value)).year)),
  define('month', ['timestamp'], 'int', (value) => BigInt(civilDay(moment(value)).month)),
  define('day', ['timestamp'], 'int', (value) => BigInt(civilDay(moment(value)).day)),
  define('dateTrunc', ['string', 'timestamp'], 'timestamp', (unit, value) => truncate(unit as string, moment(value))),
  define('epochMicros', ['timestamp'], 'int', (value) => requireFinite(moment(value))),
  define('getFullYear', ['timestamp'], 'int', (value) => BigInt(civilDay(moment(value)).year)),
  define('getMonth', ['timestamp'], 'int', (value) => BigInt(civilDay(moment(value)).month - 1)),
  define('getDate', ['timestamp'], 'int', (value) => BigInt(civilDay(moment(value)).day)),
  define('getDayOfMonth', ['timestamp'], 'int', (value) => BigInt(civilDay(moment(value)).day - 1)),
  define('getDayOfYear', ['timestamp'], 'int', (value) => dayOfYear(moment(value))),
  // The first day of 1970 was a Thursday, and Sunday is 0.
  define('getDayOfWeek', ['timestamp'], 'int', (value) => (((dayOf(value) + 4n) % 7n) + 7n) % 7n),
  define('getHours', ['timestamp'], 'int', (value) => clockOfMoment(moment(value)) / (3600n * SECOND)),
  define('getMinutes', ['timestamp'], 'int', (value) => (clockOfMoment(moment(value)) / (60n * SECOND)) % 60n),
  define('getSeconds', ['timestamp'], 'int', (value) => (clockOfMoment(moment(value)) / SECOND) % 60n),
  define('getMilliseconds', ['timestamp'], 'int', (value) => (clockOfMoment(moment(value)) / 1000n) % 1000n),
  define('getHours', ['duration'], 'int', (value) => (value as bigint) / (3600n * SECOND)),
  define('getMinutes', ['duration'], 'int', (value) => (value as bigint) / (60n * SECOND)),
  define('getSeconds', ['duration'], 'int', (value) => (value as bigint) / SECOND),
];

function moment(value: Value | undefined): bigint {
  return value as bigint;
}

function dayOf(value: Value | undefined): bigint {
  return floorDivide(requireFinite(moment(value)), DAY_MICROS);
}

function dayOfYear(value: bigint): bigint {
  return dayOf(value) - BigInt(daysOf(civilDay(value).year, 1, 1));
}

/** `1h30m`, `250ms`, `-2d`: CEL's form, with days. */
function parseSpan(text: string): bigint {
  const match = /^([+-]?)((?:\d+(?:\.\d+)?(?:ms|us|[dhms]))+)$/.exec(text);
  if (match === null) throw new RuleFailure('invalid_text', 'a text is no duration such as 1h30m');
  let micros = 0n;
  for (const [, whole = '', fraction = '', unit = ''] of (match[2] ?? '').matchAll(
    /(\d+)(?:\.(\d+))?(ms|us|[dhms])/g,
  )) {
    const size = UNITS[unit] ?? 0n;
    const part = fraction === '' ? 0n : BigInt(fraction) * size;
    const scale = 10n ** BigInt(fraction.length);
    if (part % scale !== 0n) throw new RuleFailure('out_of_range', 'a duration is finer than a microsecond');
    micros += BigInt(whole) * size + part / scale;
  }
  return match[1] === '-' ? -micros : micros;
}

function truncate(unit: string, value: bigint): bigint {
  requireFinite(value);
  const size = TRUNCATED[unit];
  if (size !== undefined) return floorDivide(value, size) * size;
  const { year, month } = civilDay(value);
  switch (unit) {
    case 'month':
      return BigInt(daysOf(year, month, 1)) * DAY_MICROS;
    case 'quarter':
      return BigInt(daysOf(year, month - ((month - 1) % 3), 1)) * DAY_MICROS;
    case 'year':
      return BigInt(daysOf(year, 1, 1)) * DAY_MICROS;
    case 'week': {
      // Weeks begin on Monday (ISO 8601), as date_trunc has it.
      const days = floorDivide(value, DAY_MICROS);
      return (days - ((((days + 3n) % 7n) + 7n) % 7n)) * DAY_MICROS;
    }
    default:
      throw new RuleFailure('invalid_text', 'dateTrunc takes year, quarter, month, week, day, hour, minute or second');
  }
}
