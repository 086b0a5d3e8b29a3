import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { someOf } from '../harness/chaos/long-run.ts';
import type { VerifyReport } from '#core/verify/verify-report.ts';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { waitForTarget } from '../harness/pipeline-run.ts';
import { testKafka } from '../harness/servers.ts';
import { readTopics } from '../harness/topic-records.ts';
import { until } from '../harness/until.ts';

const START_SQL = `
  CREATE TABLE public.orders (id int PRIMARY KEY, who text NOT NULL, net numeric(10,2) NOT NULL, tags text[] NOT NULL, open boolean NOT NULL);
  ALTER TABLE public.orders REPLICA IDENTITY FULL;
  CREATE TABLE public.docs (id int PRIMARY KEY, title text, body text);
  ALTER TABLE public.docs ALTER COLUMN body SET STORAGE EXTERNAL;
  CREATE TABLE public.plain (id int PRIMARY KEY, what text);
  CREATE TABLE public.outbox (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), aggregatetype text NOT NULL, aggregateid text NOT NULL, type text, payload json);
  INSERT INTO public.orders SELECT g, 'w' || g, g * 1.1, ARRAY['a', 'b'], g % 2 = 0 FROM generate_series(1, 300) g;
  INSERT INTO public.docs SELECT g, 't' || g, repeat(md5(g::text), 300) FROM generate_series(1, 20) g;
  INSERT INTO public.plain SELECT g, 'p' FROM generate_series(1, 10) g;
  INSERT INTO public.outbox (aggregatetype, aggregateid) VALUES ('Before', '0');
`;

/** Open orders are a table of their own; one function, two tables. */
const MODULE = `
import { defineTransform, refuse, type GivenChange } from 'restage/transform';
import type { Tables } from './tables.ts';

const OPEN = 'public.open_orders';
const TOTALS = 'public.order_totals';

export default defineTransform<Tables>({
  tables: {
    [TOTALS]: { key: ['id'], columns: { id: 'int8', net: 'numeric(12,2) not null', label: 'text' }, from: ['public.orders'] },
    [OPEN]: { key: ['order_id'], columns: { order_id: 'int4', tags: 'text[]' }, from: ['public.orders'] },
    'public.papers': { key: ['id'], columns: { id: 'int8', title: 'text', body: 'text' }, from: ['public.docs'] },
  },
  'public.orders': (change) => {
    const { before, after } = change;
    if (after?.who === 'nobody') refuse('an order of nobody');
    const given: GivenChange[] = [];
    const total = after === null ? null : { id: after.id, net: after.net, label: after.who + '/' + after.id };
    given.push({ table: TOTALS, before, after: total });
    const was = before?.open === true;
    const is = after?.open === true;
    const key = before === null ? null : { order_id: before.id };
    const row = after === null ? null : { order_id: after.id, tags: after.tags };
    if (was && is) given.push({ table: OPEN, op: 'u', before: key, after: row });
    else if (was) given.push({ table: OPEN, op: 'd', key });
    else if (is) given.push({ table: OPEN, op: 'c', after: row });
    return given;
  },
  'public.docs': ({ before, after, op }) => ({ table: 'public.papers', op, before, after: after === null ? null : { ...after } }),
});
`;

const COMPARED: readonly (readonly [string, string])[] = [
  [
    `SELECT id::int8, net::numeric(12,2), who || '/' || id AS label FROM public.orders ORDER BY 1`,
    'SELECT * FROM public.order_totals ORDER BY 1',
  ],
  [
    'SELECT id AS order_id, tags FROM public.orders WHERE open ORDER BY 1',
    'SELECT * FROM public.open_orders ORDER BY 1',
  ],
  ['SELECT id::int8, title, body FROM public.docs ORDER BY 1', 'SELECT * FROM public.papers ORDER BY 1'],
  ['SELECT * FROM public.plain ORDER BY 1', 'SELECT * FROM public.plain ORDER BY 1'],
];

/** Each round one transaction: rows through every path, and the events that tell of them. */
function roundSql(round: number): string {
  const id = 1_000 + round * 10;
  return `BEGIN;
    INSERT INTO public.orders SELECT g, 'new', 1.5, ARRAY[NULL, 'x'], g % 2 = 0 FROM generate_series(${id}, ${id + 4}) g;
    UPDATE public.orders SET net = net + 1, open = NOT open WHERE id % 17 = ${round % 17};
    UPDATE public.orders SET id = id + 100000 WHERE id = ${id + 1};
    DELETE FROM public.orders WHERE id IN (${id + 2}, ${round * 3 + 1});
    UPDATE public.docs SET title = 'round ${round}' WHERE id % 3 = ${round % 3};
    INSERT INTO public.outbox (aggregatetype, aggregateid, type, payload) VALUES ('Order', '${round}', 'Placed', '{"round": ${round}.0,  "round": 1}');
    INSERT INTO public.outbox (aggregatetype, aggregateid, type, payload) VALUES ('Bill/${round % 2}', '${round}', 'Sent', NULL);
    DELETE FROM public.outbox;
    UPDATE public.plain SET what = 'r${round}' WHERE id = ${(round % 10) + 1};
    COMMIT`;
}

/** Each life of the transformer but the last, and the hit at which it ends. */
const DEATHS = someOf(['chunk.data=kill:2', 'stream.manifest=kill:1', 'stream.data=kill:1', 'stream.after=kill:1'], 1);

it('a module and an outbox in one pipeline give every row and event once, whenever the transformer dies', async () => {
  await using source = await createDatabase(15, 'module');
  await using target = await createDatabase(18, 'module');
  await source.client.query(START_SQL);
  await using files = await write(source, target);
  const { config, name, events } = files;
  const types = await runCli(['types', '-c', config, '--out', path.join(files.directory, 'tables.ts')]);
  expect(types).toMatchObject({ code: 0, stderr: '' });
  expect(await runCli(['check', '-c', config])).toMatchObject({ stderr: '' });
  await using producer = startCli(['producer', '-c', config]);
  await using sink = startCli(['sink', '-c', config, '--target', 'new']);
  const slot = `SELECT FROM pg_replication_slots WHERE database = current_database() AND confirmed_flush_lsn IS NOT NULL AND NOT temporary`;
  await until(async () => (await source.client.query(slot)).rowCount === 1, {
    what: 'the slot, from which on inserts are events',
  });
  let rounds = 0;
  for (const death of DEATHS) {
    await using transformer = startCli(['transformer', '-c', config], { RESTAGE_FAILPOINTS: `transformer.${death}` });
    for (let more = 0; more < 5; more += 1) await source.client.query(roundSql(rounds++));
    const ended = await transformer.result();
    expect(ended, ended.stderr).toMatchObject({ signal: 'SIGKILL' });
  }
  await using transformer = startCli(['transformer', '-c', config]);
  await source.client.query(roundSql(rounds++));
  await waitForTarget(config, sink);
  for (const [from, to] of COMPARED)
    expect((await target.client.query(to)).rows, to).toEqual((await source.client.query(from)).rows);
  const { rows: tables } = await target.client.query(
    `SELECT relname FROM pg_class WHERE relname IN ('outbox', 'orders')`,
  );
  expect(tables).toEqual([]);
  await expectEvents(events, rounds);
  await expectTested(config, 0);
  const verified = await runCli(['verify', '-c', config, '--target', 'new', '--json']);
  const { tables: judged } = JSON.parse(verified.stdout) as VerifyReport;
  const reasons = judged.map(({ targetTable, reason = 'judged' }) => `${targetTable.table}: ${reason}`);
  const given = ['open_orders', 'order_totals', 'papers'].map((table) => `${table}: its rows are what a module gives`);
  expect(reasons.toSorted()).toEqual([...given, 'plain: judged']);

  await source.client.query(
    `INSERT INTO public.orders VALUES (7, 'nobody', 1, '{}', true) ON CONFLICT (id) DO UPDATE SET who = 'nobody'`,
  );
  await expectStop(transformer, [
    'rule_failed: the module fails for a row: an order of nobody',
    'table public.orders, key {',
    `topic ${name}.public.orders, partition 0, offset`,
    'transform.ts:16:',
  ]);
  await expectTested(config, 1);
  await Promise.all([producer.drain(), sink.drain()]);
});

/** The module over the history, without a target: what it refuses is told. */
async function expectTested(config: string, failed: number): Promise<void> {
  const tested = await runCli(['transform', 'test', '-c', config, '--quiet', '--json', '--limit', '100000']);
  const report = JSON.parse(tested.stdout) as { failed: number; rules: { rule: string; events: number }[] };
  expect(report, tested.stderr).toMatchObject({ failed });
  for (const table of ['order_totals', 'open_orders', 'papers'])
    expect(report.rules.find(({ rule }) => rule === `the module, for public.${table}`)?.events).toBeGreaterThan(0);
}

async function expectEvents(prefix: string, rounds: number): Promise<void> {
  const topics = ['Order', 'Bill-2F0', 'Bill-2F1'].map((type) => `${prefix}.${type}`);
  const records = await readTopics(topics, (all) => all.length >= rounds * 2);
  const of = (topic: string): string[] =>
    records
      .filter((record) => record.topic === `${prefix}.${topic}`)
      .map(({ key, value, headers }) =>
        [key, value, headers.get('id')?.length, headers.get('what')].map(String).join(' '),
      );
  const all = Array.from({ length: rounds }, (_, round) => round);
  expect(of('Order')).toEqual(all.map((round) => `${round} {"round": ${round}.0,  "round": 1} 36 Placed`));
  for (const odd of [0, 1])
    expect(of(`Bill-2F${odd}`)).toEqual(
      all.filter((round) => round % 2 === odd).map((round) => `${round} null 36 Sent`),
    );
}

async function expectStop(transformer: CliProcess, words: readonly string[]): Promise<void> {
  const { code, stderr } = await transformer.result();
  expect(code, stderr).toBe(4);
  for (const word of words) expect(stderr).toContain(word);
}

interface Files extends AsyncDisposable {
  readonly directory: string;
  readonly config: string;
  readonly name: string;
  /** What the events' topics begin with. */
  readonly events: string;
}

async function write(source: TestDatabase, target: TestDatabase): Promise<Files> {
  const directory = await mkdtemp(path.join(tmpdir(), 'module-outbox-'));
  const name = source.name.replaceAll('_', '-');
  const config = path.join(directory, 'restage.yaml');
  await writeFile(path.join(directory, 'transform.ts'), MODULE);
  await writeFile(
    config,
    `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" } }
transform:
  outputs:
    - name: main
      module: ./transform.ts
      rules:
        - table: public.outbox
          outbox:
            table.fields.additional.placement: type:header:what
            route.topic.replacement: events-${name}.$\${routedByValue}
            route.tombstone.on.empty.payload: true
targets:
  - { name: new, postgres: { url: "${target.url}" }, schema: create }
`,
  );
  return {
    directory,
    config,
    name,
    events: `events-${name}`,
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
}
