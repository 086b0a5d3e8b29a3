import { expect, test } from 'vitest';
import { WalBudget, type WalSample } from '#core/wal-budget.ts';

function sample(at: number, written: bigint, more: Partial<WalSample> = {}): WalSample {
  return { at, written, retainedBytes: 0, safeBytes: null, walStatus: 'reserved', ...more };
}

test('the time until it is full is room by what is written', () => {
  const budget = new WalBudget(1_000);
  expect(budget.note(sample(0, 0n))).toMatchObject({ state: 'within', bytesPerSecond: 0, secondsUntilFull: null });
  expect(budget.note(sample(2_000, 200n, { retainedBytes: 400 }))).toMatchObject({
    bytesPerSecond: 100,
    secondsUntilFull: 6,
  });
  expect(budget.note(sample(4_000, 400n, { retainedBytes: 400, safeBytes: 100 })).secondsUntilFull).toBe(1);
});

test('the rate forgets what is older than a minute', () => {
  const budget = new WalBudget(1_000_000);
  budget.note(sample(0, 0n));
  budget.note(sample(10_000, 100_000n));
  expect(budget.note(sample(69_000, 100_000n)).bytesPerSecond).toBe(0);
});

test('above the budget, and about to be removed by the server', () => {
  const budget = new WalBudget(1_000);
  expect(budget.note(sample(0, 0n, { retainedBytes: 1_000 })).state).toBe('within');
  expect(budget.note(sample(1, 0n, { retainedBytes: 1_001 })).state).toBe('above');
  expect(budget.note(sample(2, 0n, { retainedBytes: 5, walStatus: 'unreserved' })).state).toBe('unreserved');
});
