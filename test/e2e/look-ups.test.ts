import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { VerifyReport } from '#core/verify/verify-report.ts';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { someOf } from '../harness/chaos/long-run.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { askSnapshot, loadedAfter, loadOf } from '../harness/late-pipeline.ts';
import { waitForTarget } from '../harness/pipeline-run.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

const SOURCE_SQL = `
  CREATE TABLE public.customers (id int PRIMARY KEY, name text, tier text NOT NULL, address text);
  CREATE TABLE public.orders (id bigint PRIMARY KEY, customer_id int, amount numeric(12,2) NOT NULL, note text);
  ALTER TABLE public.orders ALTER note SET STORAGE EXTERNAL;
  CREATE TABLE public.people (id int PRIMARY KEY, boss int, name text NOT NULL);
  CREATE TABLE public.tickets (id int PRIMARY KEY, state text NOT NULL, body text);
  INSERT INTO public.tickets SELECT g, CASE WHEN g % 2 = 0 THEN 'open' ELSE 'shut' END, 'b' || g FROM generate_series(1, 40) g;`;

const ROWS_SQL = `
  INSERT INTO public.customers SELECT g, 'c' || g, CASE WHEN g % 3 = 0 THEN 'gold' ELSE 'tin' END, 'at ' || g FROM generate_series(1, 60) g;
  INSERT INTO public.orders SELECT g, g % 70, g * 1.25, repeat('n' || g, 900) FROM generate_series(1, 600) g;
  INSERT INTO public.people SELECT g, nullif(g / 3, 0), 'p' || g FROM generate_series(1, 30) g;`;

const RULES = `
        - table: public.orders
          lookUp: [{ as: customer, table: public.customers, on: { id: customer_id } }]
          set: [{ column: customer_name, type: text, value: customer.name }]
        - table: public.orders
          rename: public.gold_orders
          columns: { keep: [id, amount] }
          lookUp: [{ as: customer, table: public.customers, on: { id: customer_id } }]
          where: customer.tier == "gold"
          set: [{ column: label, type: text, value: 'customer.name + " of " + customer.address' }]
        - table: public.people
          lookUp: [{ as: boss_row, table: public.people, on: { id: boss } }]
          set: [{ column: boss_name, type: text, value: boss_row.name }]
        - { table: public.tickets, state: true, where: state == "open" }`;

/** What the target must have, as SQL says it over the source. */
const EXPECTED: Readonly<Record<string, string>> = {
  customers: 'SELECT id, name, tier, address FROM customers ORDER BY 1',
  orders:
    'SELECT o.id, customer_id, amount, md5(note) AS note, c.name AS customer_name FROM orders o LEFT JOIN customers c ON c.id = customer_id ORDER BY 1',
  gold_orders: `SELECT o.id, amount, c.name || ' of ' || c.address AS label FROM orders o JOIN customers c ON c.id = customer_id WHERE tier = 'gold' ORDER BY 1`,
  people:
    'SELECT p.id, p.boss, p.name, b.name AS boss_name FROM people p LEFT JOIN people b ON b.id = p.boss ORDER BY 1',
  tickets: `SELECT * FROM tickets WHERE state = 'open' ORDER BY 1`,
};
const FOUND: Readonly<Record<string, string>> = {
  customers: 'SELECT id, name, tier, address FROM customers ORDER BY 1',
  orders: 'SELECT id, customer_id, amount, md5(note) AS note, customer_name FROM orders ORDER BY 1',
  gold_orders: 'SELECT id, amount, label FROM gold_orders ORDER BY 1',
  people: 'SELECT id, boss, name, boss_name FROM people ORDER BY 1',
  tickets: 'SELECT * FROM tickets ORDER BY 1',
};

let source: TestDatabase;
let target: TestDatabase;
let folder: string;
let config: string;
let rounds = 0;

beforeAll(async () => {
  source = await createDatabase(15, 'joined_source');
  target = await createDatabase(15, 'joined_target');
  folder = await mkdtemp(path.join(tmpdir(), 'restage-joined-'));
  await source.client.query(SOURCE_SQL + ROWS_SQL);
  config = await writeConfig('restage.yaml', RULES);
});

afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

test('looked up values are those of the source, whatever changes in either table and wherever the transformer is killed', async () => {
  const missing = await writeConfig(
    'missing.yaml',
    RULES.replaceAll('table: public.customers,', 'table: public.custmers,'),
  );
  const refused = await runCli(['check', '-c', missing]);
  expect(refused.stdout).toMatch(/looks up rows of a table that is not captured: public\.custmers/);
  expect(refused.stdout).toMatch(/missing\.yaml:\d+:\d+.*\n.*did you mean public\.customers\?/);

  await using producer = startCli(['producer', '-c', config]);
  await using sink = startCli(['sink', '-c', config, '--target', 'new']);
  for (const [step, hit] of someOf(LOAD_KILLS, 0)) await killedAt(step, hit);
  for (const [step, hit] of someOf(STREAM_KILLS, 1)) await killedAt(step, hit);
  await using transformer = startCli(['transformer', '-c', config]);
  for (let at = 0; at < 20; at += 1) await change();
  await expectJoined(transformer);
  expect(transformer.stderr() + transformer.stdout()).toMatch(/rules' state was read/);

  await source.client.query(`TRUNCATE public.customers; INSERT INTO public.customers VALUES (3, 'back', 'gold', 'x')`);
  await source.client.query('UPDATE public.orders SET customer_id = 3 WHERE id % 5 = 0');
  await expectJoined(transformer);
  await source.client.query('TRUNCATE public.orders, public.customers, public.people');
  await source.client.query(ROWS_SQL);

  for (const table of someOf(['customers', 'orders'], 1)) {
    const pipeline = { target, source, config, [Symbol.asyncDispose]: () => Promise.resolve() };
    const before = await loadOf(pipeline, `.${table}`);
    await askSnapshot(pipeline, `public.${table}`);
    for (let at = 0; at < 10; at += 1) await change();
    await loadedAfter(pipeline, `.${table}`, before);
    await expectJoined(transformer);
  }
  const verified = await runCli(['verify', '-c', config, '--target', 'new', '--json']);
  const { tables } = JSON.parse(verified.stdout) as VerifyReport;
  expect(verified, verified.stdout).toMatchObject({ code: 0 });
  expect(tables.map((one) => [one.targetTable.table, one.different, one.reason])).toContainEqual([
    'gold_orders',
    [],
    undefined,
  ]);
  await target.client.query(
    `UPDATE public.orders SET customer_name = 'else' WHERE id = (SELECT min(id) FROM public.orders)`,
  );
  expect(await runCli(['verify', '-c', config, '--target', 'new', '--json'])).toMatchObject({ code: 1 });
  await expectShown();
  for (const process of [transformer, sink, producer]) expect(await process.drain()).toMatchObject({ code: 0 });
}, 240_000);

const LOAD_KILLS = [
  ['transformer.chunk.manifest', 2],
  ['transformer.plan.after', 1],
  ['transformer.end.before', 1],
] as const;
const STREAM_KILLS = [
  ['transformer.stream.data', 2],
  ['transformer.stream.after', 1],
  ['transformer.stream.manifest', 1],
] as const;

/** A dry run takes manifests in their order: among a load's rows a looked up one may be later, but it is there. */
async function expectShown(): Promise<void> {
  const shown = await runCli([
    'transform',
    'test',
    '-c',
    config,
    '--table',
    'public.people',
    '--limit',
    '5000',
    '--json',
  ]);
  expect(shown, shown.stderr).toMatchObject({ code: 0 });
  const report = JSON.parse(shown.stdout) as { failed: number; shown: { before: Shown; after: Shown[] }[] };
  expect(report.failed).toBe(0);
  const loaded = report.shown.filter(({ before }) => before.op === 'r');
  expect(loaded.length).toBeGreaterThanOrEqual(30);
  expect(loaded.filter(({ after }) => typeof after[0]?.after?.['boss_name'] === 'string').length).toBeGreaterThan(9);
}

interface Shown {
  readonly op: string;
  readonly after: Readonly<Record<string, unknown>> | null;
}

/** A life of the transformer that ends at a step, while rows change. */
async function killedAt(step: string, hit: number): Promise<void> {
  await using life = startCli(['transformer', '-c', config], { RESTAGE_FAILPOINTS: `${step}=kill:${hit}` });
  await until(
    async () => {
      await change();
      return life.hasEnded();
    },
    { what: `${step} to be met`, timeoutMs: 60_000, everyMs: 200 },
  );
  expect(await life.result(), life.stderr()).toMatchObject({ signal: 'SIGKILL' });
}

async function writeConfig(name: string, rules: string): Promise<string> {
  const file = path.join(folder, name);
  await writeFile(
    file,
    `
name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, heartbeatMs: 1000 }
transform:
  outputs:
    - name: main
      rules:${rules}
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: create }]
`,
  );
  return file;
}

/** Some of everything, in transactions of several tables. */
async function change(): Promise<void> {
  const round = (rounds += 1);
  const id = 1 + (round % 60);
  await source.client.query(`
    BEGIN;
    UPDATE public.customers SET name = 'r${round}', tier = CASE WHEN tier = 'gold' THEN 'tin' ELSE 'gold' END WHERE id = ${id};
    UPDATE public.orders SET amount = amount + 1 WHERE id = ${id};
    UPDATE public.orders SET customer_id = ${((round * 7) % 64) + 1} WHERE id = ${id + 60};
    DELETE FROM public.customers WHERE id = ${((round * 11) % 60) + 1};
    INSERT INTO public.orders VALUES (${10_000 + round}, ${id}, ${round}, 'new ${round}') ON CONFLICT (id) DO UPDATE SET note = 'again';
    COMMIT;
    BEGIN;
    INSERT INTO public.customers VALUES (${((round * 11) % 60) + 1}, 'n${round}', 'gold', NULL) ON CONFLICT DO NOTHING;
    UPDATE public.customers SET id = id + 1000 WHERE id = ${((round * 13) % 60) + 1} AND NOT EXISTS (SELECT FROM public.customers o WHERE o.id = customers.id + 1000);
    UPDATE public.orders SET id = id + 50000 WHERE id = ${200 + round};
    DELETE FROM public.orders WHERE id = ${300 + round};
    UPDATE public.people SET boss = ${1 + (round % 30)}, name = name || '.' WHERE id = ${1 + ((round * 3) % 30)};
    UPDATE public.people SET id = id + 100 WHERE id = ${1 + ((round * 5) % 30)};
    UPDATE public.people SET id = id - 100 WHERE id > 100 AND id % 2 = ${round % 2};
    UPDATE public.tickets SET state = CASE WHEN state = 'open' THEN 'shut' ELSE 'open' END WHERE id = ${1 + (round % 40)};
    UPDATE public.tickets SET body = 'body ${round}' WHERE id % 7 = ${round % 7};
    COMMIT;`);
}

async function expectJoined(run: CliProcess): Promise<void> {
  await waitForTarget(config, run);
  for (const [table, sql] of Object.entries(EXPECTED)) {
    const { rows: expected } = await source.client.query(sql);
    const { rows: found } = await target.client.query(FOUND[table] ?? '');
    expect(found, table).toEqual(expected);
  }
}
