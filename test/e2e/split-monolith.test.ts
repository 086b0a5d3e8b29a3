import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type pg from 'pg';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { readDecided } from '#adapters/kafka/keyed-topic.ts';
import { readAudit } from '../harness/audit.ts';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { createDatabase } from '../harness/database.ts';
import { openAdmin } from '../harness/kafka-admin.ts';
import { pgbench } from '../harness/pgbench.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

const EXAMPLE = 'docs/examples/split-monolith';

/** Each client's: updates through every rule, key changes, deletes, rows that enter and leave, events. */
const TRAFFIC = `
\\set c random(1, 60)
\\set o random(1, 300)
\\set n random(1, 1000000000)
BEGIN;
UPDATE customers SET name = 'name ' || :n, city = CASE WHEN :n % 2 = 0 THEN city ELSE 'city ' || :n END WHERE id = :c;
INSERT INTO orders SELECT 1000 + :n, id, 'draft', :n % 100 + 0.5, jsonb_build_array(jsonb_build_object('sku', 'new', 'quantity', :n % 9)) FROM customers WHERE id = :c ON CONFLICT DO NOTHING;
INSERT INTO outbox (aggregatetype, aggregateid, type, payload) SELECT 'order', id, 'placed', jsonb_build_object('id', id) FROM orders WHERE id = 1000 + :n;
UPDATE orders SET state = CASE state WHEN 'draft' THEN 'paid' ELSE 'draft' END, total = total + 1 WHERE id = :o;
UPDATE orders SET lines = lines || jsonb_build_array(jsonb_build_object('sku', 's' || :n, 'quantity', 1)) WHERE id = :o + 1 AND jsonb_array_length(lines) < 6;
UPDATE orders SET lines = lines - 0 WHERE id = :o + 2 AND jsonb_array_length(lines) > 1;
INSERT INTO payments SELECT 1000 + :n, id, total, 'IBAN-SECRET-' || :n FROM orders WHERE id = :o ON CONFLICT DO NOTHING;
COMMIT;
BEGIN;
UPDATE customers SET id = id + 100000 WHERE id = :c + 60 AND :n % 20 = 0;
DELETE FROM orders WHERE id = :o + 300 AND :n % 4 = 0;
DELETE FROM payments WHERE id = :n % 300;
UPDATE shipments SET sent_at = now() WHERE id = :o;
COMMIT;
`;

const ROWS = `
INSERT INTO customers SELECT g, 'n' || g, 'mail-secret-' || g || '@x', 's' || g, 'c' || g, 'ssn-secret-' || g FROM generate_series(1, 120) g;
INSERT INTO orders SELECT g, g % 120 + 1, CASE WHEN g % 3 = 0 THEN 'draft' ELSE 'paid' END, g, jsonb_build_array(jsonb_build_object('sku', 'a', 'quantity', g), jsonb_build_object('sku', 'b', 'quantity', 2)) FROM generate_series(1, 600) g;
INSERT INTO payments SELECT g, g, g, 'IBAN-SECRET-' || g FROM generate_series(1, 300) g;
INSERT INTO shipments SELECT g, g, NULL FROM generate_series(1, 300) g;`;

const masked = (column: string): string => `repeat('*', length(${column}) - 4) || right(${column}, 4)`;
/** What SQL over the source says that each target holds; the masked address is compared by its number of values. */
const WANTED: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  billing: [
    ['SELECT id, name FROM customers', 'SELECT id, name FROM public.customers'],
    ['SELECT count(DISTINCT email) FROM customers', 'SELECT count(DISTINCT email) FROM public.customers'],
    [
      `SELECT o.id, o.customer_id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.state <> 'draft'`,
      'SELECT id, customer_id, total, customer_name FROM billing.invoices',
    ],
    [`SELECT id, order_id, amount, ${masked('iban')} FROM payments`, 'SELECT * FROM billing.payments'],
  ],
  shipping: [
    ['SELECT id, street, city FROM customers', 'SELECT * FROM public.addresses'],
    [
      `SELECT o.id, l.n, l.line->>'sku', (l.line->>'quantity')::int FROM orders o, jsonb_array_elements(o.lines) WITH ORDINALITY l(line, n)`,
      'SELECT order_id, n, sku, quantity FROM public.order_lines',
    ],
    ['SELECT * FROM shipments', 'SELECT * FROM public.shipments'],
  ],
  third: [
    [
      `SELECT id, customer_id, total * 2, 'x' FROM orders WHERE state = 'draft'`,
      'SELECT id, customer_id, total, customer_name FROM billing.invoices',
    ],
    [`SELECT id, order_id, amount, ${masked('iban')} FROM payments`, 'SELECT * FROM billing.payments'],
  ],
};

test('a monolith is split as the example says while it works, replayed otherwise into a third, and one output stands alone', async () => {
  await using source = await createDatabase(15, 'monolith');
  await using billing = await createDatabase(15, 'billing');
  await using shipping = await createDatabase(18, 'shipping');
  await using third = await createDatabase(15, 'third');
  const targets = { billing, shipping, third };
  const folder = await mkdtemp(path.join(tmpdir(), 'restage-split-'));
  const name = source.name.replaceAll('_', '-');
  const env = {
    PIPELINE: name,
    KAFKA: testKafka(),
    MONOLITH_URL: source.url,
    BILLING_URL: billing.url,
    SHIPPING_URL: shipping.url,
    THIRD_URL: third.url,
    MAIL_KEY: 'a key of more than sixteen letters',
    RESTAGE_HTTP_PORT: '0',
  };
  const expectEqual = async (target: keyof typeof targets, file: string, runs: CliProcess): Promise<void> => {
    const waited = await runCli(['wait', '-c', file, '--target', target, '--timeout', '120'], env, 150_000);
    expect(waited, waited.stderr + runs.stderr()).toMatchObject({ code: 0 });
    for (const [from, to] of WANTED[target] ?? []) {
      const [theirs, ours] = [await sorted(source.client, from), await sorted(targets[target].client, to)];
      expect(ours, `${target}: ${to}`).toEqual(theirs);
    }
  };
  try {
    await source.client.query(await readFile(path.join(EXAMPLE, 'monolith.sql'), 'utf8'));
    await source.client.query(ROWS);
    const script = path.join(folder, 'traffic.sql');
    await writeFile(script, TRAFFIC);
    const file = path.join(EXAMPLE, 'restage.yaml');
    const checked = await runCli(['check', '-c', file], env);
    expect(checked, checked.stdout + checked.stderr).toMatchObject({ code: 0 });
    await using run = startCli(['run', '-c', file], env);
    const slot =
      'SELECT FROM pg_replication_slots WHERE database = current_database() AND confirmed_flush_lsn IS NOT NULL AND NOT temporary';
    await until(async () => (await source.client.query(slot)).rowCount === 1, {
      what: 'the slot, from which on inserts are events',
      timeoutMs: 60_000,
    });
    await using traffic = pgbench(source.url, ['-n', '-f', script, '-c', '3', '-t', '100', '--max-tries', '20']);
    await traffic.ended;
    await expectEqual('billing', file, run);
    await expectEqual('shipping', file, run);

    // One output fails for good: the others, and the run, go on.
    await source.client.query(`UPDATE orders SET lines = '5' WHERE id = 7`);
    await run.output(/the others of this process go on/, 60_000);
    await source.client.query(`UPDATE customers SET name = 'after' WHERE id = 7`);
    await source.client.query(
      `INSERT INTO outbox (aggregatetype, aggregateid, type) VALUES ('order', 'last', 'after')`,
    );
    await expectEqual('billing', file, run);
    // A service says how it is every two seconds.
    const isFailed = async (): Promise<boolean> =>
      (await runCli(['status', '-c', file, '--json'], env)).stdout.includes('"state":"failed"');
    await until(isFailed, { what: 'status to tell of the output that failed', timeoutMs: 30_000 });
    run.kill('SIGTERM');
    const drained = await run.result(20_000);
    expect(drained.code).toBe(4);
    await source.client.query('DELETE FROM orders WHERE id = 7');

    // Other rules of the first output into a third target, beside it; what failed waits.
    const changed = path.join(folder, 'restage.yaml');
    await writeFile(changed, withThird(await readFile(file, 'utf8')));
    await using again = startCli(['run', '-c', changed], env);
    await expectEqual('third', changed, again);
    await expectEqual('billing', changed, again);
    const wait = await runCli(['wait', '-c', changed, '--target', 'shipping'], env);
    expect(wait, wait.stderr).toMatchObject({ code: 0 });
    const listed = await runCli(['dlq', 'list', '-c', changed, '--json'], env);
    const ids = (JSON.parse(listed.stdout) as { deadLetters: { id: string }[] }).deadLetters.map(({ id }) => id);
    expect(ids.length).toBeGreaterThan(1);
    const dropped = await runCli(['dlq', 'drop', '-c', changed, ids[0] ?? '', '--behind', 'free', '--yes'], env);
    expect(dropped, dropped.stderr).toMatchObject({ code: 0 });
    const retried = await runCli(['dlq', 'retry', '-c', changed], env);
    expect(retried, retried.stdout + retried.stderr).toMatchObject({ code: 0 });
    expect((await readAudit(shipping, name)).slice(-2)).toEqual([
      expect.stringMatching(new RegExp(`^dlq drop letters=.*${ids[0]}`)),
      expect.stringMatching(/^dlq retry letters=all/),
    ]);
    await expectEqual('shipping', changed, again);
    again.kill('SIGTERM');
    expect(await again.result(20_000)).toMatchObject({ code: 0 });

    const { rows } = await source.client.query<{ ids: string }>('SELECT aggregateid AS ids FROM outbox');
    await expectTopics(
      name,
      rows.map(({ ids: id }) => id),
      drained.stdout + drained.stderr + again.stdout() + again.stderr(),
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}, 400_000);

function withThird(text: string): string {
  const [before = '', rest = ''] = text.split('    - name: shipping\n');
  const first = before.slice(before.indexOf('    - name: billing'));
  const second = first
    .replace('- name: billing', '- name: billing\n      version: 2')
    .replace('state != "draft"', 'state == "draft"')
    .replace('keep: [id, customer_id, total]', 'keep: [id, customer_id]')
    .replace('set: [{', `set: [{ column: total, type: "numeric(12,2)", value: "total + total" }, {`)
    .replace('value: customer.name', `value: 'customer == null ? "" : "x"'`);
  return `${before}${second}    - name: shipping\n      quarantine: transaction\n${rest}`
    .replace('output: billing,', 'output: billing@1,')
    .concat('  - { name: third, output: billing@2, schema: create, postgres: { url: "${THIRD_URL}" } }\n');
}

async function sorted(client: pg.Client, sql: string): Promise<string[]> {
  const { rows } = await client.query<unknown[]>({ text: sql, rowMode: 'array' });
  return rows.map((row) => JSON.stringify(row)).toSorted();
}

/** Every event once, and no value that is left out or masked at capture anywhere; those that rules mask in no topic of their output. */
async function expectTopics(name: string, events: readonly string[], logs: string): Promise<void> {
  expect(logs).not.toMatch(/ssn-secret|mail-secret|IBAN-SECRET/);
  await using admin = await openAdmin();
  const eventTopic = `events-${name}.order`;
  const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(name) || topic === eventTopic);
  expect(topics.some((topic) => topic.startsWith(`${name}.state.`))).toBe(true);
  const logger = pino({ level: 'silent' });
  const kafka = { brokers: [testKafka()], ssl: false, sasl: null, replicationFactor: 1 };
  const pool = createConnectionPool(kafka, { clientId: 'split', logger });
  const told: string[] = [];
  try {
    for (const topic of topics)
      for await (const records of readDecided(pool, topic))
        for (const { key, value, headers } of records) {
          const text = [key, value, ...headers.values()].map(String).join(' ');
          expect(text, topic).not.toMatch(/ssn-secret|mail-secret/);
          if (/\.(shaped|state)\./.test(topic)) expect(text, topic).not.toMatch(/IBAN-SECRET/);
          if (topic === eventTopic) told.push(String(key));
        }
  } finally {
    await pool.close();
  }
  expect(told.toSorted()).toEqual(events.toSorted());
}
