/** A moment of PostgreSQL's ISO text. */
export interface Moment {
  /** Days since 1970-01-01, proleptic Gregorian. */
  readonly days: number;
  /** Microseconds since midnight, 24:00:00 included. */
  readonly micros: bigint;
}

export const DAY_MICROS = 86_400_000_000n;
const MONTH_MICROS = (DAY_MICROS * 36_525n) / 1_200n;

/** `2000-02-29`, `0044-03-15 BC`. null for the infinities and for what is no date. */
export function parseDate(text: string): number | null {
  const match = /^(\d{4,})-(\d\d)-(\d\d)( BC)?$/.exec(text);
  if (match === null) return null;
  const [, year = '', month = '', day = '', era] = match;
  return daysOf(era === undefined ? Number(year) : 1 - Number(year), Number(month), Number(day));
}

/** `23:59:59.999999` as microseconds since midnight. */
export function parseTime(text: string): bigint | null {
  const match = /^(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?$/.exec(text);
  if (match === null) return null;
  const [, hours = '', minutes = '', seconds = '', fraction = ''] = match;
  return (
    BigInt((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1_000_000n + BigInt(fraction.padEnd(6, '0'))
  );
}

/** `1999-12-31 23:59:59.5`, with ` BC` behind; of timestamptz with the `+00` of a session in UTC. */
export function parseTimestamp(text: string): Moment | null {
  const match = /^(\S+) (\d\d:\d\d:\d\d(?:\.\d+)?)(?:\+00)?( BC)?$/.exec(text);
  if (match === null) return null;
  const [, date = '', time = '', era = ''] = match;
  const days = parseDate(`${date}${era}`);
  const micros = parseTime(time);
  return days === null || micros === null ? null : { days, micros };
}

/** `02:30:00.5+05:45` as microseconds since midnight in UTC; the offset is lost. */
export function parseTimeWithZone(text: string): bigint | null {
  const match = /^([\d:.]+)([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?$/.exec(text);
  if (match === null) return null;
  const [, time = '', sign = '', hours = '', minutes = '0', seconds = '0'] = match;
  const micros = parseTime(time);
  if (micros === null) return null;
  const offset = BigInt((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1_000_000n;
  const utc = sign === '+' ? micros - offset : micros + offset;
  return ((utc % DAY_MICROS) + DAY_MICROS) % DAY_MICROS;
}

/** Microseconds since 1970. */
export function epochMicros({ days, micros }: Moment): bigint {
  return BigInt(days) * DAY_MICROS + micros;
}

/** Java's ISO_LOCAL_DATE: years beyond four digits with a sign. */
export function isoDate(days: number): string {
  const { year, month, day } = civilOf(days);
  const digits = String(Math.abs(year)).padStart(4, '0');
  const sign = year < 0 ? '-' : year > 9999 ? '+' : '';
  return `${sign}${digits}-${pad(month)}-${pad(day)}`;
}

/** `hh:mm:ss`, then as many digits of the second as `width` says; null: as many as it has. */
export function isoTime(micros: bigint, width: number | null): string {
  const seconds = Number((micros / 1_000_000n) % 86_400n);
  const all = String(micros % 1_000_000n).padStart(6, '0');
  const fraction = width === null ? all.replace(/0+$/, '') : all.slice(0, width);
  const time = `${pad(Math.floor(seconds / 3600))}:${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}`;
  return fraction === '' ? time : `${time}.${fraction}`;
}

/** An interval's parts. Signs are each part's own. */
export interface IntervalParts {
  readonly years: number;
  readonly months: number;
  readonly days: number;
  /** Of the time of day, signed. */
  readonly micros: bigint;
}

/** IntervalStyle `postgres`: `1 year 2 mons -3 days +04:05:06.789`. null for the infinities. */
export function parseInterval(text: string): IntervalParts | null {
  const match =
    /^(?:([+-]?\d+) years? ?)?(?:([+-]?\d+) mons? ?)?(?:([+-]?\d+) days? ?)?(?:([+-])?(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?$/.exec(
      text,
    );
  if (match === null || text === '') return null;
  const [, years = '0', months = '0', days = '0', sign = '+', hours = '0', minutes = '0', seconds = '0', part = ''] =
    match;
  const whole = (BigInt(hours) * 60n + BigInt(minutes)) * 60n + BigInt(seconds);
  const micros = whole * 1_000_000n + BigInt(part.padEnd(6, '0'));
  return {
    years: Number(years),
    months: Number(months),
    days: Number(days),
    micros: sign === '-' ? -micros : micros,
  };
}

/** A month counts as 365.25 / 12 days, as in Debezium's MicroDuration. */
export function intervalMicros({ years, months, days, micros }: IntervalParts): bigint {
  return BigInt(years * 12 + months) * MONTH_MICROS + BigInt(days) * DAY_MICROS + micros;
}

/** Debezium's io.debezium.time.Interval: `P1Y2M3DT4H5M6.789S`, each part with its own sign. */
export function intervalText({ years, months, days, micros }: IntervalParts): string {
  const isNegative = micros < 0n;
  const size = isNegative ? -micros : micros;
  const signed = (value: bigint): string => (isNegative && value !== 0n ? `-${value}` : String(value));
  const fraction = String(size % 1_000_000n)
    .padStart(6, '0')
    .replace(/0+$/, '');
  const seconds = (size / 1_000_000n) % 60n;
  const sign = isNegative && (seconds !== 0n || fraction !== '') ? '-' : '';
  const time = `T${signed(size / 3_600_000_000n)}H${signed((size / 60_000_000n) % 60n)}M`;
  return `P${years}Y${months}M${days}D${time}${sign}${seconds}${fraction === '' ? '' : `.${fraction}`}S`;
}

/** Days from the civil calendar, by Howard Hinnant's algorithm. */
export function daysOf(year: number, month: number, day: number): number {
  const shifted = month <= 2 ? year - 1 : year;
  const era = Math.floor(shifted / 400);
  const ofEra = shifted - era * 400;
  const ofYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  return era * 146_097 + ofEra * 365 + Math.floor(ofEra / 4) - Math.floor(ofEra / 100) + ofYear - 719_468;
}

/** The civil date of days since 1970-01-01, by the same algorithm; years before 1 are 0 and below. */
export function civilOf(days: number): { year: number; month: number; day: number } {
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const ofEra = shifted - era * 146_097;
  const year = Math.floor(
    (ofEra - Math.floor(ofEra / 1_460) + Math.floor(ofEra / 36_524) - Math.floor(ofEra / 146_096)) / 365,
  );
  const ofYear = ofEra - (365 * year + Math.floor(year / 4) - Math.floor(year / 100));
  const slot = Math.floor((5 * ofYear + 2) / 153);
  const month = slot < 10 ? slot + 3 : slot - 9;
  return {
    year: year + era * 400 + (month <= 2 ? 1 : 0),
    month,
    day: ofYear - Math.floor((153 * slot + 2) / 5) + 1,
  };
}

function pad(value: number): string {
  return String(value).padStart(2, '0');
}
