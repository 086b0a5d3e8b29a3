import { expect, test } from 'vitest';
import { compareObjects } from './object-plan.ts';

test('what is new or differs is copied, what an earlier copy brought goes with its original, and strangers stay', () => {
  const theirs = new Map([
    ['1', 'a'],
    ['2', 'b'],
    ['3', 'c'],
    ['4', 'd'],
  ]);
  const ours = new Map([
    ['1', 'a'],
    ['2', 'old'],
    ['3', 'a stranger'],
    ['5', 'gone'],
    ['6', 'a stranger'],
  ]);
  expect(compareObjects(theirs, ours, new Set(['1', '2', '5']))).toEqual({
    copied: ['2', '4'],
    removed: ['5'],
    conflicts: ['3'],
  });
});
