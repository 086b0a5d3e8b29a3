import { expect, test } from 'vitest';
import { findUnshown } from './unshown.ts';

test('a table that the newest snapshot of its connector shows no row of is named, others are not', () => {
  const states = [
    ['a', { server: 'one', lsn: 20n }],
    ['b', { server: 'one', lsn: 10n }],
    ['never in a snapshot', { server: 'one', lsn: 0n }],
    ['c', { server: 'two', lsn: 5n }],
    ['nothing read', null],
  ] as const;
  expect(findUnshown(states)).toEqual(
    new Map([
      ['b', 20n],
      ['never in a snapshot', 20n],
    ]),
  );
});

test('streams without a snapshot show nothing, and need not', () => {
  expect(findUnshown([['a', { server: 'one', lsn: 0n }]]).size).toBe(0);
});
