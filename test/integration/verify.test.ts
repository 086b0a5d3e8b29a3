import { pino } from 'pino';
import type pg from 'pg';
import { expect, test } from 'vitest';
import type { Config, RuleConfig } from '#core/config.ts';
import type { RowDifference, VerifyReport } from '#core/verify/verify-report.ts';
import { runVerify } from '../../services/cli/verify/verify-command.ts';
import { lineProgress } from '../../services/cli/verify/verify-progress.ts';
import { verifyTables } from '../../services/cli/verify/verify-tables.ts';
import { findTarget } from '../../services/cli/config-file.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';

const ACCOUNTS = 'id int, region text, amount numeric, note text, b bool, at timestamptz';
const FILL = `SELECT i, CASE WHEN i % 2 = 0 THEN 'eu' ELSE 'us' END, i + 0.5, 'n' || i, i % 3 = 0, '2024-01-01Z'::timestamptz + i * interval '1 s'`;
const ROWS = 3_000;

const SOURCE_SQL = `
  CREATE TABLE public.accounts (${ACCOUNTS}, secret text DEFAULT 'x', PRIMARY KEY (id, region));
  INSERT INTO public.accounts ${FILL} FROM generate_series(1, ${ROWS}) AS i;
  CREATE TABLE public.orders (id int PRIMARY KEY, total numeric);
  ALTER TABLE public.orders REPLICA IDENTITY FULL;
  INSERT INTO public.orders SELECT i, i FROM generate_series(1, 500) AS i;
  CREATE TABLE public.log (line text);
  ALTER TABLE public.log REPLICA IDENTITY FULL;
  INSERT INTO public.log SELECT 'line ' || i % 50 FROM generate_series(1, 200) AS i;`;

const TARGET_SQL = `
  CREATE TABLE public.customers (${ACCOUNTS.replace('note', 'remark')}, PRIMARY KEY (id, region));
  INSERT INTO public.customers ${FILL} FROM generate_series(1, ${ROWS}) AS i;
  CREATE TABLE public.orders (id int PRIMARY KEY, total numeric);
  INSERT INTO public.orders SELECT i, i FROM generate_series(101, 500) AS i;
  CREATE TABLE public.log (line text);
  INSERT INTO public.log SELECT 'line ' || i % 50 FROM generate_series(1, 200) AS i;
  CREATE SCHEMA restage;
  CREATE TABLE restage.checkpoint (pipeline text PRIMARY KEY, through pg_lsn NOT NULL, load_done boolean NOT NULL);
  INSERT INTO restage.checkpoint VALUES ('verified', '0/0', true);`;

const RULES: readonly RuleConfig[] = [
  {
    table: { schema: 'public', table: 'accounts' },
    rename: { schema: 'public', table: 'customers' },
    renameColumns: new Map([['note', 'remark']]),
    dropColumns: ['secret'],
    where: null,
  },
  {
    table: { schema: 'public', table: 'orders' },
    rename: null,
    renameColumns: new Map(),
    dropColumns: [],
    where: 'total > 100',
  },
];

interface Fault {
  readonly sql: string;
  readonly table: string;
  readonly found: RowDifference;
}

function changed(id: number, set: string, columns: readonly string[]): Fault {
  const key = { id: String(id), region: id % 2 === 0 ? 'eu' : 'us' };
  return {
    sql: `UPDATE public.customers SET ${set} WHERE id = ${id}`,
    table: 'customers',
    found: { key, kind: 'changed', columns },
  };
}

const FAULTS: readonly Fault[] = [
  changed(10, 'amount = 10.50', ['amount']),
  changed(11, 'amount = 11.51', ['amount']),
  changed(12, 'amount = NULL', ['amount']),
  changed(13, `remark = ''`, ['remark']),
  changed(14, 'remark = NULL', ['remark']),
  changed(15, `remark = 'n15 '`, ['remark']),
  changed(16, `remark = 'N16'`, ['remark']),
  changed(17, `remark = 'n18'`, ['remark']),
  changed(18, `remark = 'n17'`, ['remark']),
  changed(19, 'b = NOT b', ['b']),
  changed(20, 'b = NULL', ['b']),
  changed(21, `at = at + interval '1 microsecond'`, ['at']),
  changed(22, `at = 'infinity'`, ['at']),
  changed(23, `amount = 'NaN'`, ['amount']),
  {
    sql: 'DELETE FROM public.customers WHERE id = 24',
    table: 'customers',
    found: { key: { id: '24', region: 'eu' }, kind: 'missing', columns: [] },
  },
  {
    sql: `INSERT INTO public.customers (id, region) VALUES (9999, 'us')`,
    table: 'customers',
    found: { key: { id: '9999', region: 'us' }, kind: 'extra', columns: [] },
  },
  {
    sql: 'DELETE FROM public.orders WHERE id = 500',
    table: 'orders',
    found: { key: { id: '500' }, kind: 'missing', columns: [] },
  },
  // The rule keeps it out, so the target should not have it.
  {
    sql: 'INSERT INTO public.orders VALUES (7, 7)',
    table: 'orders',
    found: { key: { id: '7' }, kind: 'extra', columns: [] },
  },
  {
    sql: 'UPDATE public.orders SET total = 300.0 WHERE id = 300',
    table: 'orders',
    found: { key: { id: '300' }, kind: 'changed', columns: ['total'] },
  },
];

function configOf(source: TestDatabase, target: TestDatabase): Config {
  return {
    name: 'verified',
    file: 'test',
    outputs: [{ name: 'main', version: 1, rules: RULES }],
    http: { host: '127.0.0.1', port: 0 },
    epoch: { bytes: 1, lingerMs: 1, partBytes: 1 },
    kafka: { brokers: ['127.0.0.1:1'], ssl: false, sasl: null, replicationFactor: 1 },
    source: {
      url: source.url,
      tables: [],
      publication: 'verified',
      slot: 'verified',
      snapshotWorkers: 1,
      heartbeatMs: 1,
    },
    targets: [{ name: 'new', url: target.url, output: 'main', schema: 'require', loadWorkers: 1 }],
  };
}

async function verify(config: Config): Promise<{ code: number; report: VerifyReport }> {
  let text = '';
  const code = await runVerify(
    config,
    { target: 'new', json: true },
    {
      logger: pino({ level: 'silent' }),
      signal: new AbortController().signal,
      out: (more) => (text += more),
    },
  );
  return { code, report: JSON.parse(text) as VerifyReport };
}

/** A sink that has applied whatever is in the source, until stopped: `step` runs on both sides before each position. */
function followSource(
  source: pg.Client,
  target: pg.Client,
  step: (count: number) => Promise<void>,
): () => Promise<void> {
  let isStopped = false;
  const loop = (async (): Promise<void> => {
    for (let count = 0; !isStopped; count += 1) {
      await step(count);
      const { rows } = await source.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn()::text AS lsn');
      await target.query('UPDATE restage.checkpoint SET through = $1', [rows[0]?.lsn]);
    }
  })();
  return async () => {
    isStopped = true;
    await loop;
  };
}

test('traffic alone makes no difference, and every planted fault is named while it goes on', async () => {
  await using source = await createDatabase(15, 'verify_source');
  await using target = await createDatabase(15, 'verify_target');
  await source.client.query(SOURCE_SQL);
  await target.client.query(TARGET_SQL);
  const config = configOf(source, target);
  const stop = followSource(source.client, target.client, async (count) => {
    const id = 1_000 + (count % 5);
    await source.client.query('UPDATE public.accounts SET note = $2 WHERE id = $1', [id, String(count)]);
    await target.client.query('UPDATE public.customers SET remark = $2 WHERE id = $1', [id, String(count)]);
  });
  try {
    const sound = await verify(config);
    expect(sound.report.tables.flatMap((table) => [...table.different, ...table.unverified])).toEqual([]);
    expect(sound).toMatchObject({ code: 0, report: { verdict: 'equal' } });
    expect(sound.report.tables.map((table) => [table.targetTable.table, table.rows])).toEqual([
      ['customers', ROWS],
      ['log', 200],
      ['orders', 400],
    ]);

    for (const fault of FAULTS) await target.client.query(fault.sql);
    await target.client.query(
      `DELETE FROM public.log WHERE ctid = (SELECT min(ctid) FROM public.log WHERE line = 'line 3')`,
    );
    const { code, report } = await verify(config);
    expect(code).toBe(1);
    expect(report.verdict).toBe('different');
    const found = (table: string): readonly RowDifference[] =>
      report.tables.find(({ targetTable }) => targetTable.table === table)?.different ?? [];
    for (const table of ['customers', 'orders']) {
      const planted = FAULTS.filter((fault) => fault.table === table).map((fault) => fault.found);
      expect(found(table)).toHaveLength(planted.length);
      expect(found(table)).toEqual(expect.arrayContaining(planted));
    }
    expect(found('log')).toEqual([
      { key: { row: expect.stringMatching(/^[0-9a-f]{32}$/) as string }, kind: 'missing', columns: [] },
    ]);
    expect(report.tables.flatMap((table) => table.unverified)).toEqual([]);
  } finally {
    await stop();
  }
});

test('a row that the sink has not brought yet is unverified, not different', async () => {
  await using source = await createDatabase(15, 'verify_source');
  await using target = await createDatabase(15, 'verify_target');
  await source.client.query(SOURCE_SQL);
  await target.client.query(TARGET_SQL);
  await source.client.query(`UPDATE public.accounts SET note = 'later' WHERE id = 5`);
  const config = configOf(source, target);
  const report = await verifyTables(config, findTarget(config, 'new'), {
    logger: pino({ level: 'silent' }),
    progress: lineProgress(() => undefined, Date.now),
    signal: new AbortController().signal,
    clock: Date.now,
    patienceMs: 1_000,
  });
  expect(report.verdict).toBe('unverified');
  expect(report.tables.flatMap((table) => table.different)).toEqual([]);
  expect(report.tables.flatMap((table) => table.unverified.map(({ key }) => key))).toEqual([{ id: '5', region: 'us' }]);
});
