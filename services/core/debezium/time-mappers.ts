import { named, type ConnectType, type ConnectValue } from './connect-schema.ts';
import type { DebeziumOptions } from './options.ts';
import {
  daysOf,
  epochMicros,
  intervalMicros,
  intervalText,
  isoDate,
  isoTime,
  parseDate,
  parseInterval,
  parseTime,
  parseTimestamp,
  parseTimeWithZone,
  DAY_MICROS,
  type Moment,
} from './temporal-text.ts';
import { textMapper, type MapperFactory, type ValueMapper } from './value-mapper.ts';

const DEFAULT_DIGITS = 6;
const CONNECT = 'org.apache.kafka.connect.data';
const DEBEZIUM = 'io.debezium.time';
/** What Debezium makes of the infinities: pgjdbc's sentinels, as microseconds. */
export const POSITIVE_END = 9_223_372_036_825_200_000n;
export const NEGATIVE_END = -9_223_372_036_832_400_000n;
const LONGEST = 9_223_372_036_854_775_807n;
/** Debezium's dates for the infinities; the positive one lies before the negative one. */
export const POSITIVE_END_DAYS = daysOf(-5_877_611, 6, 21);
export const NEGATIVE_END_DAYS = daysOf(-5_877_611, 6, 22);

type Unit = 'millis' | 'micros' | 'nanos' | 'iso';

interface Form {
  readonly unit: Unit;
  readonly type: ConnectType;
  readonly name: string;
}

const TIME_FORMS: Readonly<Record<'millis' | 'micros' | 'nanos' | 'iso' | 'connect', Form>> = {
  millis: { unit: 'millis', type: 'int32', name: `${DEBEZIUM}.Time` },
  micros: { unit: 'micros', type: 'int64', name: `${DEBEZIUM}.MicroTime` },
  nanos: { unit: 'nanos', type: 'int64', name: `${DEBEZIUM}.NanoTime` },
  iso: { unit: 'iso', type: 'string', name: `${DEBEZIUM}.IsoTime` },
  connect: { unit: 'millis', type: 'int32', name: `${CONNECT}.Time` },
};

const TIMESTAMP_FORMS: typeof TIME_FORMS = {
  millis: { unit: 'millis', type: 'int64', name: `${DEBEZIUM}.Timestamp` },
  micros: { unit: 'micros', type: 'int64', name: `${DEBEZIUM}.MicroTimestamp` },
  nanos: { unit: 'nanos', type: 'int64', name: `${DEBEZIUM}.NanoTimestamp` },
  iso: { unit: 'iso', type: 'string', name: `${DEBEZIUM}.IsoTimestamp` },
  connect: { unit: 'millis', type: 'int64', name: `${CONNECT}.Timestamp` },
};

type Mode = DebeziumOptions['timePrecisionMode'];

const FIXED_FORM: Readonly<Record<Exclude<Mode, 'adaptive' | 'adaptive_time_microseconds'>, keyof typeof TIME_FORMS>> =
  {
    connect: 'connect',
    isostring: 'iso',
    microseconds: 'micros',
    nanoseconds: 'nanos',
  };

function formOf(mode: Mode, digits: number, isTime: boolean): Form {
  const forms = isTime ? TIME_FORMS : TIMESTAMP_FORMS;
  if (mode === 'adaptive_time_microseconds' && isTime) return forms.micros;
  if (mode === 'adaptive' || mode === 'adaptive_time_microseconds') return digits <= 3 ? forms.millis : forms.micros;
  return forms[FIXED_FORM[mode]];
}

export const date: MapperFactory = (_type, { timePrecisionMode: mode }) => {
  if (mode === 'isostring') {
    return {
      schema: named('string', `${DEBEZIUM}.IsoDate`),
      convert: (text) => orNull(dateDays(text), (days) => `${isoDate(days)}Z`),
      zero: '1970-01-01Z',
      unavailable: null,
    };
  }
  const name = mode === 'connect' ? `${CONNECT}.Date` : `${DEBEZIUM}.Date`;
  return { schema: named('int32', name), convert: dateDays, zero: 0, unavailable: null };
};

export const time: MapperFactory = ({ modifiers }, { timePrecisionMode: mode }) => {
  const { unit, type, name } = formOf(mode, modifiers[0] ?? DEFAULT_DIGITS, true);
  const inUnit = (micros: bigint): ConnectValue => {
    if (unit === 'iso') return `${isoTime(micros, null)}Z`;
    const count = scaled(micros, unit);
    return type === 'int32' ? Number(count) : count;
  };
  return {
    schema: named(type, name),
    convert: (text) => orNull(parseTime(text), inUnit),
    zero: inUnit(0n),
    unavailable: null,
  };
};

export const timestamp: MapperFactory = ({ modifiers }, { timePrecisionMode: mode }) => {
  const { unit, type, name } = formOf(mode, modifiers[0] ?? DEFAULT_DIGITS, false);
  const convert = (text: string): ConnectValue => {
    if (text.endsWith('infinity')) return endOf(text, unit);
    return orNull(parseTimestamp(text), (moment) => (unit === 'iso' ? isoMoment(moment, null) : inRange(moment, unit)));
  };
  return { schema: named(type, name), convert, zero: convert('1970-01-01 00:00:00'), unavailable: null };
};

export const timestamptz: MapperFactory = ({ modifiers }) => {
  const digits = modifiers[0] ?? DEFAULT_DIGITS;
  return {
    schema: named('string', `${DEBEZIUM}.ZonedTimestamp`),
    convert: (text) =>
      text.endsWith('infinity')
        ? text
        : orNull(parseTimestamp(text), (moment) => isoMoment(moment, digits === 0 ? null : digits)),
    zero: '1970-01-01T00:00:00Z',
    unavailable: null,
  };
};

export const timetz = (): ValueMapper => ({
  schema: named('string', `${DEBEZIUM}.ZonedTime`),
  convert: (text) => orNull(parseTimeWithZone(text), (micros) => `${isoTime(micros, null)}Z`),
  zero: '00:00:00Z',
  unavailable: null,
});

export const interval: MapperFactory = (_type, options) => {
  if (options.intervalHandlingMode === 'string') {
    const convert = (text: string): ConnectValue => orNull(parseInterval(text), intervalText);
    return { ...textMapper(named('string', `${DEBEZIUM}.Interval`), options), convert, zero: convert('00:00:00') };
  }
  return {
    schema: named('int64', `${DEBEZIUM}.MicroDuration`),
    convert: (text) => orNull(parseInterval(text), intervalMicros),
    zero: 0n,
    unavailable: null,
  };
};

function dateDays(text: string): number | null {
  if (text === 'infinity') return POSITIVE_END_DAYS;
  return text === '-infinity' ? NEGATIVE_END_DAYS : parseDate(text);
}

export function isoMoment({ days, micros }: Moment, width: number | null): string {
  const shifted = micros >= DAY_MICROS ? days + 1 : days;
  return `${isoDate(shifted)}T${isoTime(micros, width)}Z`;
}

function endOf(text: string, unit: Unit): ConnectValue {
  const isPositive = text === 'infinity';
  if (unit === 'nanos') return isPositive ? LONGEST : -LONGEST - 1n;
  const micros = isPositive ? POSITIVE_END : NEGATIVE_END;
  if (unit !== 'iso') return scaled(micros, unit);
  return isoMoment({ days: Number(floorDiv(micros, DAY_MICROS)), micros: floorMod(micros, DAY_MICROS) }, null);
}

/** Nanoseconds reach from 1677 to 2262; what lies outside has no form. */
function inRange(moment: Moment, unit: Exclude<Unit, 'iso'>): ConnectValue {
  const count = scaled(epochMicros(moment), unit);
  return count > LONGEST || count < -LONGEST - 1n ? null : count;
}

function scaled(micros: bigint, unit: Exclude<Unit, 'iso'>): bigint {
  if (unit === 'nanos') return micros * 1_000n;
  return unit === 'micros' ? micros : floorDiv(micros, 1_000n);
}

export function floorDiv(value: bigint, by: bigint): bigint {
  return (value - floorMod(value, by)) / by;
}

export function floorMod(value: bigint, by: bigint): bigint {
  return ((value % by) + by) % by;
}

function orNull<T>(value: T | null, then: (value: T) => ConnectValue): ConnectValue {
  return value === null ? null : then(value);
}
