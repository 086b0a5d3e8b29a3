import { expect, it } from 'vitest';
import { backoffMs } from './backoff.ts';

const ATTEMPTS = Array.from({ length: 2_000 }, (_, attempt) => attempt);
const longest = (attempt: number): number => backoffMs(attempt, () => 1);

it('waits up to twice as long after each failure, and never longer than five seconds', () => {
  expect(ATTEMPTS.slice(0, 8).map(longest)).toEqual([50, 100, 200, 400, 800, 1_600, 3_200, 5_000]);
  expect(new Set(ATTEMPTS.slice(8).map(longest))).toEqual(new Set([5_000]));
});

it('is anywhere below that, so that those who failed together do not come back together', () => {
  for (const attempt of ATTEMPTS) {
    for (const share of [0.1, 0.5, 0.9])
      expect(backoffMs(attempt, () => share)).toBe(Math.ceil(share * longest(attempt)));
  }
});
