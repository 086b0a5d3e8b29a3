import { expect, test } from 'vitest';
import { runCli } from '../harness/cli.ts';

interface DemoReport {
  readonly rows: number;
  readonly changes: number;
  readonly proof: {
    readonly isEqual: boolean;
    readonly tables: readonly { readonly table: string; readonly isEqual: boolean }[];
  };
}

const SMALL = ['demo', '--orders', '4000', '--seconds', '2', '--json'];

test('the demo proves its target equal, and exits 1 when one row was spoilt', async () => {
  const [equal, spoilt] = await Promise.all([
    runCli(SMALL, {}, 150_000),
    runCli([...SMALL, '--sabotage', 'flip'], {}, 150_000),
  ]);
  expect(equal.code, equal.stderr).toBe(0);
  const report = JSON.parse(equal.stdout) as DemoReport;
  expect(report.proof.tables.map(({ table, isEqual }) => `${table} ${isEqual}`)).toEqual([
    'customers true',
    'orders true',
    'order_lines true',
    'receipts true',
    'activity true',
  ]);
  expect(report.rows).toBeGreaterThan(18_000);
  expect(report.changes).toBeGreaterThan(50);

  expect(spoilt.code, spoilt.stderr).toBe(1);
  const { proof } = JSON.parse(spoilt.stdout) as DemoReport;
  expect(proof.tables.filter(({ isEqual }) => !isEqual).map(({ table }) => table)).toEqual(['customers']);
}, 180_000);
