import { expect, test } from 'vitest';
import { formatMicros, parseHistoryPoint } from '#core/history-point.ts';

test.each([
  ['beginning', { kind: 'beginning' }],
  ['1A/0000ff', { kind: 'lsn', lsn: 0x1a_0000_00ffn }],
  ['1970-01-01T00:00:01Z', { kind: 'time', micros: 1_000_000n }],
  ['1970-01-01 01:00:00.000001+01', { kind: 'time', micros: 1n }],
  ['1970-01-01T00:00-01:30', { kind: 'time', micros: 5_400_000_000n }],
  ['2024-02-29T23:59:59.5Z', { kind: 'time', micros: 1_709_251_199_500_000n }],
  // What would be read by the zone of whoever looks is not taken.
  ['2024-02-29T23:59:59', null],
  ['2023-02-29T00:00:00Z', null],
  ['2024-01-01T24:00:00Z', null],
  ['2024-01-01T00:00:00+25:00', null],
  ['current', null],
  ['1A', null],
  ['', null],
])('%s', (text, point) => {
  expect(parseHistoryPoint(text)).toEqual(point);
});

test('a commit time is printed to the microsecond', () => {
  expect(formatMicros(1_709_251_199_500_001n)).toBe('2024-02-29T23:59:59.500001Z');
});
