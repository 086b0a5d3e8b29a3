import { expect, test } from 'vitest';
import { aheadOf, type SequenceState } from './sequence-plan.ts';

const UP: SequenceState = {
  schema: 'public',
  table: 's',
  last: 5n,
  start: 1n,
  increment: 2n,
  min: 1n,
  max: 100n,
  owner: null,
};

test('a sequence goes past the furthest of both sides, in its own direction and within its bounds', () => {
  expect(aheadOf(UP, [9n, null], 0n)).toBe(9n);
  expect(aheadOf(UP, [3n, 4n], 3n)).toBe(11n);
  expect(aheadOf(UP, [99n], 10n)).toBe(100n);
  expect(aheadOf({ ...UP, last: -5n, increment: -1n, min: -50n, max: -1n }, [-9n, -2n], 1n)).toBe(-10n);
  expect(aheadOf({ ...UP, last: null }, [null, null], 10n)).toBeNull();
});
