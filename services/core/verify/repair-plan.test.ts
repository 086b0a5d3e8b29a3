import { expect, test } from 'vitest';
import { planRepair } from '#core/verify/repair-plan.ts';
import type { TableReport } from '#core/verify/verify-report.ts';

const EMPTY = {
  table: { schema: 'public', table: 't' },
  targetTable: { schema: 'public', table: 't' },
  rows: 9,
  chunks: 1,
  chunksLeft: 0,
  different: [],
  unverified: [],
} as const satisfies TableReport;

test('rows with a key are repaired; where dead letters wait, no key is, or nothing was judged, rows are left with the reason', () => {
  const report: TableReport = {
    ...EMPTY,
    chunksLeft: 2,
    different: [
      { key: { id: '1' }, kind: 'changed', columns: ['a'] },
      { key: { id: '2' }, kind: 'extra', columns: [] },
      { key: { id: '3' }, kind: 'missing', columns: [], deadLetter: 'x' },
    ],
    unverified: [{ key: { id: '4' }, reason: 'never at rest' }],
  };
  const keyless: TableReport = {
    ...EMPTY,
    different: [{ key: { row: '0123456789abcdef0123456789abcdef' }, kind: 'extra', columns: [] }],
  };
  const plan = planRepair({ tables: [EMPTY, report, keyless] });
  expect(plan.tables).toEqual([
    {
      targetTable: EMPTY.targetTable,
      keys: [{ id: '1' }, { id: '2' }],
      kinds: { missing: 0, extra: 1, changed: 1 },
    },
  ]);
  expect(plan.left.map(({ rows, why }) => `${rows} ${why.split(/[:,]/)[0] ?? ''}`)).toEqual([
    '1 dead letters wait there',
    '1 they could not be judged',
    '2 so many chunks more differ',
    '1 the table has no key',
  ]);
});
