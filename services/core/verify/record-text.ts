import { createHash } from 'node:crypto';

/** What record output puts into quotes (rowtypes.c: record_out). */
const NEEDS_QUOTES = /["\\(),\s]/;

/** Values' texts as PostgreSQL prints a record of them: `ROW(a, b)::text`. */
export function recordText(values: readonly (string | null)[]): string {
  return `(${values.map(fieldText).join(',')})`;
}

/** md5 of that, as the server gives it. */
export function recordMd5(values: readonly (string | null)[]): string {
  return createHash('md5').update(recordText(values), 'utf8').digest('hex');
}

function fieldText(value: string | null): string {
  if (value === null) return '';
  if (value !== '' && !NEEDS_QUOTES.test(value)) return value;
  return `"${value.replaceAll(/["\\]/g, '$&$&')}"`;
}
