import { expect, test } from 'vitest';
import { judgeWalRate } from './wal-rate.ts';

const GIB = 1024 ** 3;

test('the rate of WAL says how long a pipeline may stand, and warns where nobody could come in time', () => {
  expect(judgeWalRate({ bytes: 10 * GIB, seconds: 36_000 }, 10 * GIB)).toMatchObject([
    {
      severity: 'info',
      evidence: '1024 MiB an hour in the mean of 10.0 h; source.walBudget.bytes is reached after 10.0 h',
    },
  ]);
  expect(judgeWalRate({ bytes: 100 * GIB, seconds: 36_000 }, 10 * GIB)).toMatchObject([{ severity: 'warn' }]);
  // Too short to say, and a source at rest.
  expect(judgeWalRate({ bytes: GIB, seconds: 59 }, GIB)).toEqual([]);
  expect(judgeWalRate({ bytes: 1_000, seconds: 36_000 }, GIB)).toEqual([]);
});
