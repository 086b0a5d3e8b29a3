import { DAY_MICROS, isoDate, isoTime } from '#core/debezium/temporal-text.ts';
import {
  floorDiv,
  floorMod,
  isoMoment,
  NEGATIVE_END,
  NEGATIVE_END_DAYS,
  POSITIVE_END,
  POSITIVE_END_DAYS,
} from '#core/debezium/time-mappers.ts';

const CONNECT = 'org.apache.kafka.connect.data.';
const DEBEZIUM = 'io.debezium.time.';
const LONGEST = 9_223_372_036_854_775_807n;

type FromCount = (count: bigint) => string;
type FromText = (text: string) => string;

/** Schemas whose integers are moments or durations, as PostgreSQL's text. */
export const COUNTS: ReadonlyMap<string, FromCount> = new Map([
  [`${CONNECT}Date`, dateOf],
  [`${DEBEZIUM}Date`, dateOf],
  [`${CONNECT}Time`, (count: bigint) => timeOf(count * 1_000n)],
  [`${DEBEZIUM}Time`, (count: bigint) => timeOf(count * 1_000n)],
  [`${DEBEZIUM}MicroTime`, timeOf],
  [`${DEBEZIUM}NanoTime`, (count: bigint) => timeOf(count / 1_000n)],
  [`${CONNECT}Timestamp`, millisOf],
  [`${DEBEZIUM}Timestamp`, millisOf],
  [`${DEBEZIUM}MicroTimestamp`, microsOf],
  [`${DEBEZIUM}NanoTimestamp`, nanosOf],
  [`${DEBEZIUM}MicroDuration`, durationOf],
  [`${DEBEZIUM}NanoDuration`, (count: bigint) => durationOf(count / 1_000n)],
]);

/** Schemas whose strings are moments. Debezium's intervals are ISO 8601's, which PostgreSQL reads as they are. */
export const MOMENTS: ReadonlyMap<string, FromText> = new Map([
  [`${DEBEZIUM}ZonedTimestamp`, zonedText],
  [`${DEBEZIUM}ZonedTime`, (text: string) => text.replace(/Z$/, '+00')],
  [`${DEBEZIUM}IsoDate`, localText],
  [`${DEBEZIUM}IsoTime`, (text: string) => text.replace(/Z$/, '')],
  [`${DEBEZIUM}IsoTimestamp`, localText],
]);

function dateOf(days: bigint): string {
  const count = Number(days);
  if (count === POSITIVE_END_DAYS) return 'infinity';
  return count === NEGATIVE_END_DAYS ? '-infinity' : withEra(isoDate(count));
}

function timeOf(micros: bigint): string {
  return micros === DAY_MICROS ? '24:00:00' : isoTime(micros, null);
}

function millisOf(millis: bigint): string {
  if (millis === floorDiv(POSITIVE_END, 1_000n)) return 'infinity';
  return millis === floorDiv(NEGATIVE_END, 1_000n) ? '-infinity' : microsOf(millis * 1_000n);
}

function nanosOf(nanos: bigint): string {
  if (nanos === LONGEST) return 'infinity';
  return nanos === -LONGEST - 1n ? '-infinity' : microsOf(floorDiv(nanos, 1_000n));
}

function microsOf(micros: bigint): string {
  if (micros === POSITIVE_END) return 'infinity';
  if (micros === NEGATIVE_END) return '-infinity';
  const days = Number(floorDiv(micros, DAY_MICROS));
  return withEra(`${isoDate(days)} ${isoTime(floorMod(micros, DAY_MICROS), null)}`);
}

/** All of it as hours: how many days or months there were is lost in the count. */
function durationOf(micros: bigint): string {
  const size = micros < 0n ? -micros : micros;
  const minutes = String((size / 60_000_000n) % 60n).padStart(2, '0');
  const seconds = String((size / 1_000_000n) % 60n).padStart(2, '0');
  const fraction = String(size % 1_000_000n).padStart(6, '0');
  return `${micros < 0n ? '-' : ''}${size / 3_600_000_000n}:${minutes}:${seconds}.${fraction}`;
}

const ENDS: ReadonlyMap<string, string> = new Map(
  (
    [
      [POSITIVE_END, 'infinity'],
      [NEGATIVE_END, '-infinity'],
    ] as const
  ).map(([end, text]) => [
    isoMoment({ days: Number(floorDiv(end, DAY_MICROS)), micros: floorMod(end, DAY_MICROS) }, null),
    text,
  ]),
);
const DATE_ENDS: ReadonlyMap<string, string> = new Map([
  [`${isoDate(POSITIVE_END_DAYS)}Z`, 'infinity'],
  [`${isoDate(NEGATIVE_END_DAYS)}Z`, '-infinity'],
]);

function localText(text: string): string {
  return ENDS.get(text) ?? DATE_ENDS.get(text) ?? withEra(text.replace(/Z$/, ''));
}

function zonedText(text: string): string {
  return text.endsWith('infinity') ? text : withEra(text.replace(/Z$/, '+00'));
}

/** ISO 8601's years with a sign, as PostgreSQL reads them: year 0 is 1 BC (PostgreSQL: "Date/Time Input"). */
function withEra(text: string): string {
  const match = /^([+-]?)(\d{4,})(-\d\d-\d\d)(.*)$/s.exec(text);
  if (match === null) return text;
  const [, sign = '', year = '', day = '', time = ''] = match;
  const rest = time.replace(/^T/, ' ');
  const value = sign === '-' ? -Number(year) : Number(year);
  if (value > 0) return `${String(value).padStart(4, '0')}${day}${rest}`;
  return `${String(1 - value).padStart(4, '0')}${day}${rest} BC`;
}
