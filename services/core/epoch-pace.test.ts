import { expect, test } from 'vitest';
import { EpochPace } from '#core/epoch-pace.ts';

test('a writer that has rested writes at once', () => {
  const pace = new EpochPace(null, 0);
  expect(pace.waitMs(5, 5)).toBe(0);
  pace.wrote(5, 15);
  expect(pace.waitMs(500, 500)).toBe(0);
});

test('the longer writes take, the longer the next epoch gathers, within bounds', () => {
  const pace = new EpochPace(null, 0);
  let now = 0;
  const write = (ms: number): number => {
    pace.wrote(now, now + ms);
    now += ms;
    return pace.waitMs(now, now);
  };
  for (let round = 0; round < 20; round += 1) write(10);
  const quick = write(10);
  for (let round = 0; round < 20; round += 1) write(40);
  const slow = write(40);
  expect(quick).toBeGreaterThan(8);
  expect(slow).toBeGreaterThan(3 * quick);
  for (let round = 0; round < 20; round += 1) write(10_000);
  expect(write(10_000)).toBe(200);
  for (let round = 0; round < 40; round += 1) write(0);
  expect(write(0)).toBeLessThan(1);
});

test('a fixed wait counts from the oldest event', () => {
  const pace = new EpochPace(20, 0);
  pace.wrote(0, 500);
  expect(pace.waitMs(500, 505)).toBe(15);
  expect(pace.waitMs(500, 520)).toBe(0);
});
