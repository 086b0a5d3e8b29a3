import { parseLsn, type Lsn } from '#core/lsn.ts';

/** A place in the history of a source, as people name it. */
export type HistoryPoint =
  | { readonly kind: 'beginning' }
  | { readonly kind: 'lsn'; readonly lsn: Lsn }
  /** Microseconds since 1970, as commit times are. */
  | { readonly kind: 'time'; readonly micros: bigint };

const TIME =
  /^(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?\s?(?:(Z)|([+-])(\d{2}):?(\d{2})?)$/i;

/** null where the text is no point. A time has a zone: `2026-11-28T10:00:00.5Z`, `2026-11-28 11:00+01`. */
export function parseHistoryPoint(text: string): HistoryPoint | null {
  if (text === 'beginning') return { kind: 'beginning' };
  if (/^[0-9a-f]{1,8}\/[0-9a-f]{1,8}$/i.test(text)) return { kind: 'lsn', lsn: parseLsn(text) };
  const match = TIME.exec(text);
  if (match === null) return null;
  const [, year, month, day, hour, minute, second = '0', fraction = '', , sign, zoneHour = '0', zoneMinute = '0'] =
    match;
  const fields = [year, month, day, hour, minute, second].map(Number);
  const [y = 0, mo = 0, d = 0, h = 0, mi = 0, s = 0] = fields;
  const ms = Date.UTC(y, mo - 1, d, h, mi, s);
  // What rolls over into the next field was none of its field's values.
  const back = new Date(ms);
  const isReal =
    back.getUTCMonth() === mo - 1 && back.getUTCDate() === d && h < 24 && mi < 60 && s < 60 && Number(zoneMinute) < 60;
  if (!isReal || Number(zoneHour) > 15) return null;
  const zone = (Number(zoneHour) * 60 + Number(zoneMinute)) * 60_000 * (sign === '-' ? -1 : 1);
  return { kind: 'time', micros: BigInt(ms - zone) * 1_000n + BigInt(fraction.padEnd(6, '0')) };
}

/** `2026-11-28T10:00:00.000000Z`. */
export function formatMicros(micros: bigint): string {
  const text = new Date(Number(micros / 1_000n)).toISOString();
  return `${text.slice(0, -1)}${String(micros % 1_000n).padStart(3, '0')}Z`;
}
