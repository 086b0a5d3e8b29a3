import { expect, test } from 'vitest';
import { lsnOf } from '#core/lsn.ts';
import { firstLater, type HistoryTransaction } from './transactions.ts';

const make = (...times: readonly (number | null)[]): HistoryTransaction[] =>
  times.map((micros, at) => ({ commit: lsnOf(BigInt(at + 1)), micros: micros === null ? null : BigInt(micros) }));

test.each([
  ['between two', [10, 20, 30], 20n, 3n],
  ['at the time itself', [10, 20, 30], 19n, 2n],
  ['all are later', [10, 20], 1n, 1n],
  ['none is later', [10, 20], 20n, null],
  // What nobody knows the time of is as late as what comes after it: it is not taken too early.
  ['unknown before a later one', [10, null, null, 30], 20n, 2n],
  ['unknown before one that is not later', [10, null, 20, 30], 20n, 4n],
  // The order of commits decides where a clock went back.
  ['a clock that went back', [10, 30, 20, 40], 25n, 2n],
  ['nothing', [], 1n, null],
] as const)('the first that is later: %s', (_what, times, micros, commit) => {
  expect(firstLater(make(...times), micros)).toBe(commit);
});
