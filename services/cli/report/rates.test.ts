import { expect, test } from 'vitest';
import { ratesOf } from './rates.ts';

test('events between two samples are spread over their time, evenly spaced, and none is lost', () => {
  const points = ratesOf([
    { at: 0, events: 0 },
    { at: 30e6, events: 300 },
    { at: 60e6, events: 300 },
  ]);
  expect(points).toHaveLength(60);
  expect(points.slice(0, 30).map(({ perSecond }) => Math.round(perSecond))).toEqual(
    Array.from({ length: 30 }, () => 10),
  );
  expect(points.slice(30).every(({ perSecond }) => perSecond === 0)).toBe(true);
  expect(points[0]?.from).toBe('1970-01-01T00:00:00.000Z');
  expect(points.at(-1)?.until).toBe('1970-01-01T00:01:00.000Z');
  expect(ratesOf([])).toEqual([]);
});
