import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { expect, test } from 'vitest';
import type { VerifyReport } from '#core/verify/verify-report.ts';
import { runCli, startCli } from '../harness/cli.ts';
import { createDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';

/** Rows up to 1,000 stand still, so that no later change heals a fault; those above are written to all the time. */
const SOURCE_SQL = `
  CREATE TABLE public.customers (id bigint PRIMARY KEY, name text NOT NULL, street text, zip varchar(10), born date);
  CREATE TABLE public.orders_2024 (id bigint PRIMARY KEY, amount numeric(12,4) NOT NULL, note text);
  CREATE TABLE public.orders_2025 (id bigint PRIMARY KEY, amount numeric(12,4) NOT NULL, note text, extra int);
  CREATE TABLE public.baskets (id bigint PRIMARY KEY, items text[], prices jsonb);
  ALTER TABLE public.baskets REPLICA IDENTITY FULL;
  CREATE TABLE public.plain (id bigint PRIMARY KEY, n int);
  INSERT INTO public.customers SELECT g, 'Name ' || g, 'Street ' || g, g::text, '2000-01-01'::date + g::int FROM generate_series(1, 2000) g;
  INSERT INTO public.orders_2024 SELECT g, g * 1.25, CASE WHEN g % 3 = 0 THEN NULL ELSE 'a ' || g END FROM generate_series(1, 2000) g;
  INSERT INTO public.orders_2025 SELECT g, g * 2.5, 'b ' || g, g FROM generate_series(1, 2000) g;
  INSERT INTO public.baskets SELECT g, ARRAY['x' || g, NULL, 'y"' || g], jsonb_build_array(g, 'p' || g, NULL) FROM generate_series(1, 2000) g;
  INSERT INTO public.plain SELECT g, g FROM generate_series(1, 2000) g;
`;
const RULES = `
        - { table: public.customers, columns: { keep: [id, name, born] }, set: [{ column: initial, type: "varchar(1)", value: "substring(name, 1, 1)" }, { column: seen_at, type: timestamptz, value: event.time }] }
        - { table: public.customers, rename: public.addresses, columns: { keep: [id, street, zip], rename: { id: customer_id } } }
        - { table: public.orders_2024, rename: public.orders, key: [year, id], columns: { cast: { amount: "numeric(14,2)" } }, set: [{ column: year, type: int4, value: "2024" }] }
        - { table: public.orders_2025, rename: public.orders, key: [year, id], columns: { drop: [extra], cast: { amount: "numeric(14,2)" } }, set: [{ column: year, type: int4, value: "2025" }] }
        - { table: public.baskets, rename: public.basket_items, key: [id, position], columns: { keep: [id, item, position] }, unnest: { column: items, as: item, position: position } }
        - { table: public.baskets, rename: public.basket_prices, key: [id, n], columns: { keep: [id, price, n] }, unnest: { column: prices, as: price, position: n } }`;

/** What is done to the target, and what is to be found. */
const FAULTS: readonly (readonly [string, string])[] = [
  [`UPDATE customers SET initial = 'X' WHERE id = 7`, 'customers id=7 changed initial'],
  [`UPDATE customers SET born = born + 1, name = name || ' ' WHERE id = 8`, 'customers id=8 changed born,name'],
  ['DELETE FROM customers WHERE id = 9', 'customers id=9 missing '],
  [`UPDATE addresses SET zip = NULL WHERE customer_id = 10`, 'addresses customer_id=10 changed zip'],
  ['DELETE FROM orders WHERE id = 11 AND year = 2024', 'orders year=2024,id=11 missing '],
  ['UPDATE orders SET amount = amount + 0.01 WHERE id = 12 AND year = 2025', 'orders year=2025,id=12 changed amount'],
  [`UPDATE orders SET note = '' WHERE id = 15 AND year = 2024`, 'orders year=2024,id=15 changed note'],
  [`INSERT INTO orders (id, year, amount) VALUES (13, 2026, 1)`, 'orders year=2026,id=13 extra '],
  ['UPDATE basket_items SET position = 4 WHERE id = 14 AND position = 3', 'basket_items id=14,position=3 missing '],
  ['SELECT', 'basket_items id=14,position=4 extra '],
  [
    `UPDATE basket_items SET item = 'NULL' WHERE id = 16 AND position = 2`,
    'basket_items id=16,position=2 changed item',
  ],
  [`UPDATE basket_prices SET price = '"17"' WHERE id = 17 AND n = 1`, 'basket_prices id=17,n=1 changed price'],
  ['UPDATE plain SET n = 0 WHERE id = 18', 'plain id=18 changed n'],
];

const TRAFFIC_SQL = `
  DO $$ DECLARE k bigint; moved bigint := 1000000; BEGIN LOOP
    moved := moved + 1;
    k := 1001 + (random() * 998)::int;
    UPDATE public.customers SET name = 'N ' || random(), street = CASE WHEN random() < 0.5 THEN street ELSE 'S ' || random() END WHERE id = k;
    UPDATE public.orders_2024 SET amount = random() * 1000 WHERE id = k;
    UPDATE public.orders_2025 SET note = repeat('t', (random() * 50)::int) WHERE id = k;
    UPDATE public.baskets SET items = items[2:] || ('z' || random()), prices = prices || to_jsonb(random()) WHERE id = k AND cardinality(items) < 20;
    DELETE FROM public.orders_2024 WHERE id = k + 5000;
    INSERT INTO public.orders_2024 VALUES (k + 5000, 1, 'new');
    UPDATE public.orders_2025 SET id = moved WHERE id = 2000 + k % 7;
    INSERT INTO public.orders_2025 VALUES (2000 + k % 7, 1) ON CONFLICT DO NOTHING;
    UPDATE public.plain SET n = n + 1 WHERE id = k;
    COMMIT;
    PERFORM pg_sleep(0.02);
  END LOOP; END $$`;

test('split, merged, fanned-out and computed tables are verified through the rules while rows change: every planted fault, and no other; a repair mends them', async () => {
  await using source = await createDatabase(15, 'ruled_source');
  await using target = await createDatabase(15, 'ruled_target');
  await source.client.query(SOURCE_SQL);
  const folder = await mkdtemp(path.join(tmpdir(), 'restage-verify-'));
  const config = path.join(folder, 'restage.yaml');
  await writeFile(
    config,
    `
name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" } }
transform:
  outputs:
    - name: main
      rules:${RULES}
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: create }]
`,
  );
  await using run = startCli(['run', '-c', config]);
  const writer = new pg.Client({ connectionString: source.url });
  writer.on('error', () => undefined);
  try {
    await writer.connect();
    const { pid } = (await writer.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0] ?? { pid: 0 };
    const written = writer.query(TRAFFIC_SQL).catch((error: unknown) => error);
    expect(await runCli(['wait', '-c', config, '--target', 'new']), run.stderr()).toMatchObject({ code: 0 });

    const clean = await verify(config);
    expect(shortOf(clean.report)).toEqual({ different: [], unverified: [], verdict: 'equal' });
    expect(clean.code).toBe(0);
    const customers = clean.report.tables.find(({ targetTable }) => targetTable.table === 'customers');
    expect(customers).toMatchObject({ rows: 2000, columnsLeft: ['seen_at'] });
    const orders = clean.report.tables.find(({ targetTable }) => targetTable.table === 'orders');
    expect(orders?.alsoFrom).toEqual([{ schema: 'public', table: 'orders_2025' }]);

    for (const [sql] of FAULTS) await target.client.query(`SET search_path = public; ${sql}`);
    const spoilt = await verify(config);
    expect(shortOf(spoilt.report)).toEqual({
      different: FAULTS.map(([, difference]) => difference).toSorted(),
      unverified: [],
      verdict: 'different',
    });
    expect(spoilt.code).toBe(1);

    const repair = await runCli(['repair', '-c', config, '--target', 'new', '--yes', '--json']);
    expect(repair, repair.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(repair.stdout)).toMatchObject({ repaired: true, left: [] });
    const mended = await verify(config);
    expect(shortOf(mended.report)).toEqual({ different: [], unverified: [], verdict: 'equal' });

    await showsHistory(config);
    await source.client.query('SELECT pg_cancel_backend($1)', [pid]);
    const ended = await written;
    expect(ended, JSON.stringify(ended)).toMatchObject({ code: '57014' });
    run.kill('SIGTERM');
    expect(await run.result(12_000)).toMatchObject({ code: 0 });
  } finally {
    await writer.end();
    await rm(folder, { recursive: true, force: true });
  }
}, 300_000);

/** What is in Kafka goes through the rules of the file, also through those that are not deployed. */
async function showsHistory(config: string): Promise<void> {
  const dryRun = async (file: string, ...more: string[]): ReturnType<typeof runCli> =>
    await runCli(['transform', 'test', '-c', file, ...more]);
  const first = await dryRun(config, '--table', 'public.baskets', '--limit', '5000', '--json');
  expect(first, first.stderr.slice(0, 2000)).toMatchObject({ code: 0 });
  const report = JSON.parse(first.stdout) as {
    failed: number;
    shown: { before: { op: string; key: { id: string }; after: unknown }; after: unknown[] }[];
  };
  expect(report.failed).toBe(0);
  const loaded = report.shown.find(({ before }) => before.op === 'r' && before.key.id === '1');
  expect(loaded?.before.after).toMatchObject({ items: '{x1,NULL,"y\\"1"}' });
  expect(loaded?.after).toHaveLength(6);
  expect(loaded?.after).toContainEqual({
    table: 'public.basket_items',
    op: 'r',
    key: { id: '1', position: '2' },
    before: null,
    after: { id: '1', position: '2', item: null },
  });

  const changed = config.replace('restage.yaml', 'changed.yaml');
  const text = await readFile(config, 'utf8');
  await writeFile(
    changed,
    text.replace('cast: { amount: "numeric(14,2)" }', 'cast: { amount: "numeric(14,2)", note: int4 }'),
  );
  const second = await dryRun(changed, '--table', 'public.orders_2024', '--from', 'beginning', '--limit', '30');
  expect(second).toMatchObject({ code: 1 });
  expect(second.stdout).toMatch(
    /rule_failed: .*\n.*where: topic .*orders_2024, partition 0, offset \d+; \S+:\d+:\d+: rule for/,
  );
  expect(second.stdout).toMatch(/30 events through the rules of main, [1-9]\d* failed; \d+ events\/s in the rules\n$/);
  const none = await dryRun(config, '--from', '2099-01-01T00:00:00Z', '--quiet');
  expect(none.stdout).toContain('0 events through the rules of main, 0 failed');
}

async function verify(config: string): Promise<{ readonly code: number | null; readonly report: VerifyReport }> {
  const cli = await runCli(['verify', '-c', config, '--target', 'new', '--json']);
  expect(cli.stdout, cli.stderr).not.toBe('');
  return { code: cli.code, report: JSON.parse(cli.stdout) as VerifyReport };
}

function shortOf(report: VerifyReport): { different: string[]; unverified: string[]; verdict: string } {
  const keyOf = (key: Readonly<Record<string, string>>): string =>
    Object.entries(key)
      .map(([name, value]) => `${name}=${value}`)
      .join(',');
  return {
    different: report.tables
      .flatMap(({ targetTable, different }) =>
        different.map(
          ({ key, kind, columns }) => `${targetTable.table} ${keyOf(key)} ${kind} ${columns.toSorted().join(',')}`,
        ),
      )
      .toSorted(),
    unverified: report.tables.flatMap(({ targetTable, unverified }) =>
      unverified.map(({ key, reason }) => `${targetTable.table} ${keyOf(key)}: ${reason}`),
    ),
    verdict: report.verdict,
  };
}
