import { expect, test } from 'vitest';
import { judgeLocks } from './lock-checks.ts';

test('a transaction that locks more than a server has room for is told, with a setting that does', () => {
  const settings = { each: 64, transactions: 100 };
  expect(judgeLocks(5_120, settings)).toEqual([]);
  expect(judgeLocks(5_121, settings)).toMatchObject([
    {
      evidence: 'some 5121 locks in one transaction; max_locks_per_transaction = 64, for 100 transactions: 6400',
      fix: 'ALTER SYSTEM SET max_locks_per_transaction = 65; -- then restart the server',
    },
  ]);
  const fix = judgeLocks(50_000, settings)[0]?.fix ?? '';
  const each = Number(/= (\d+);/.exec(fix)?.[1]);
  expect(judgeLocks(50_000, { ...settings, each })).toEqual([]);
});
