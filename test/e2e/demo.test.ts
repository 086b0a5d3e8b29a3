import { expect, test } from 'vitest';
import { runCli } from '../harness/cli.ts';

interface DemoReport {
  readonly rows: number;
  readonly changes: number;
  readonly switches: readonly {
    readonly live: string;
    readonly unavailableMs: number;
    readonly steps: readonly unknown[];
  }[];
  readonly gapsMs: readonly number[];
  readonly lost: { readonly source: number; readonly target: number };
  readonly timeline: readonly { readonly what: string }[];
  readonly proof: {
    readonly isEqual: boolean;
    readonly tables: readonly { readonly table: string; readonly isEqual: boolean }[];
  };
}

const LIMIT_MS = 400_000;
const DEMO = ['demo', '--seconds', '1', '--json', '--orders'];

test(
  'the demo rehearses, cuts over, rolls back and proves its sides equal; it exits 1 when one row was spoilt',
  async () => {
    const [equal, spoilt] = await Promise.all([
      runCli([...DEMO, '4000'], {}, LIMIT_MS),
      runCli([...DEMO, '500', '--sabotage', 'flip'], {}, LIMIT_MS),
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
    expect(report.switches.map(({ live, steps }) => `${live} ${steps.length}`)).toEqual(['target 16', 'source 16']);
    // Writers went over and came back, and nothing that was acknowledged to them is lost on the way.
    expect(report.gapsMs).toHaveLength(2);
    expect(report.lost).toEqual({ source: 0, target: 0 });
    expect(report.timeline.map(({ what }) => what.split(/[:,]/)[0])).toEqual([
      'Kafka',
      'copied live',
      'verified under writes',
      'rehearsed on a clone',
      'verified under writes',
      'cutover',
      'the application writes to the target',
      'rollback',
      'proof by sessions of its own',
    ]);

    expect(report.timeline[3]?.what).toMatch(
      /passed; .*; cutover: writes refused for \d+ ms; rollback: writes refused for \d+ ms$/,
    );

    expect(spoilt.code, spoilt.stderr).toBe(1);
    const { proof } = JSON.parse(spoilt.stdout) as DemoReport;
    expect(proof.tables.filter(({ isEqual }) => !isEqual).map(({ table }) => table)).toEqual(['customers']);
  },
  LIMIT_MS + 20_000,
);
