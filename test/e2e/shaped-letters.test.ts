import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { VerifyReport } from '#core/verify/verify-report.ts';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';
import { readTopics } from '../harness/topic-records.ts';
import { until } from '../harness/until.ts';

const TABLES = `
  CREATE TABLE public.sale (id int PRIMARY KEY, amount text, mail text);
  CREATE TABLE public.person (id int PRIMARY KEY, name text);
  CREATE TABLE public.item (id int PRIMARY KEY, sale int, code text);
  INSERT INTO public.sale VALUES (1, 'one', 'a@x'), (2, '2', 'b@x');`;
/** Each a transaction; after them what touches their rows again. */
const TRAFFIC = [
  `INSERT INTO public.sale VALUES (3, 'three', 'c@x'); INSERT INTO public.person VALUES (1, 'p')`,
  `UPDATE public.sale SET amount = '20' WHERE id = 2`,
  `UPDATE public.person SET name = 'q' WHERE id = 1`,
  `UPDATE public.sale SET mail = 'z@x' WHERE id = 1`,
  `INSERT INTO public.sale VALUES (4, 'four', 'd@x')`,
  `INSERT INTO public.person VALUES (2, 'r')`,
];

let source: TestDatabase;
let target: TestDatabase;
let folder: string;
let config: string;
let name: string;
let transformer: CliProcess | null = null;
const running: CliProcess[] = [];

beforeAll(async () => {
  [source, target] = await Promise.all([createDatabase(15, 'shaped_source'), createDatabase(15, 'shaped_target')]);
  await source.client.query(TABLES);
  name = source.name.replaceAll('_', '-');
  folder = await mkdtemp(path.join(tmpdir(), 'restage-shaped-letters-'));
  config = path.join(folder, 'restage.yaml');
});

afterAll(async () => {
  for (const one of running) {
    one.kill('SIGTERM');
    await one.result(15_000).catch(() => undefined);
    await one[Symbol.asyncDispose]();
  }
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

interface Listed {
  readonly id: string;
  readonly table: { readonly table: string };
  readonly rowKey: { readonly id: string };
  readonly code: string;
  readonly stage: string;
  readonly behind: string | null;
}

test('what the rules do not take waits with what touches its rows, and arrives once it is mended, through kills', async () => {
  await writeConfig('cast: { amount: int4 }');
  for (const args of [['producer'], ['sink', '--target', 'new']]) running.push(startCli([...args, '-c', config]));
  start();
  await until(
    async () => (await target.client.query(`SELECT to_regclass('restage.checkpoint') AS made`)).rows[0]?.made !== null,
    {
      what: 'the checkpoint',
      timeoutMs: 60_000,
    },
  );
  const isDone = async (): Promise<boolean> =>
    (await target.client.query('SELECT FROM restage.checkpoint WHERE load_done')).rowCount === 1;
  await until(isDone, { what: 'the load', timeoutMs: 60_000 });
  await stop();

  for (const sql of TRAFFIC) await source.client.query(`BEGIN; ${sql}; COMMIT`);
  for (const point of ['data', 'manifest'])
    await expectKill(start({ RESTAGE_FAILPOINTS: `transformer.stream.${point}=kill` }));
  start();
  await restage(0, 'wait', '--target', 'new', '--timeout', '60');
  const letters = await list();
  expect(
    letters.map(({ table, rowKey, behind }) => `${table.table} ${rowKey.id}${behind === null ? ' itself' : ''}`),
  ).toEqual(['sale 1 itself', 'sale 3 itself', 'person 1', 'person 1', 'sale 1', 'sale 4 itself']);
  expect(await rows()).toEqual({ sale: ['2 20'], person: ['2 r'] });
  await expectTopicHas(letters);
  const differing = JSON.parse(await restage(1, 'verify', '--target', 'new', '--json')) as VerifyReport;
  const named = differing.tables.flatMap(({ targetTable, different, unverified }) =>
    [...different, ...unverified].map(
      ({ key, deadLetter = '' }) => `${targetTable.table} ${key['id'] ?? ''}: ${deadLetter}`,
    ),
  );
  const oldest = (row: string): string =>
    letters.find(({ table, rowKey }) => `${table.table} ${rowKey.id}` === row)?.id ?? '';
  expect(named.toSorted()).toEqual(['person 1', 'sale 1', 'sale 3', 'sale 4'].map((row) => `${row}: ${oldest(row)}`));
  const [one, three, , , , four] = letters.map(({ id }) => id);
  const shown = await dlq(0, 'show', one ?? '', '--values');
  expect(shown).toContain('one');
  expect(shown).not.toContain('a@x');

  // The value is mended; the transformer dies before the retry is whole, and obeys when it is back.
  await stop();
  const dying = start({ RESTAGE_FAILPOINTS: 'transformer.stream.manifest=kill' });
  const retried = startCli([
    'dlq',
    'retry',
    '-c',
    config,
    one ?? '',
    '--set',
    'amount=11',
    '--reason',
    'a typing error',
  ]);
  await expectKill(dying);
  start();
  expect(await retried.result(60_000)).toMatchObject({ code: 0 });
  await dlq(0, 'drop', four ?? '', '--yes', '--reason', 'a test order');
  // The rule is mended.
  expect(await dlq(1, 'retry')).toContain('a text is no int4');
  await stop();
  await writeConfig(
    'order: [id, amount]',
    `set: [{ column: amount, type: int4, value: 'amount == "three" ? 3 : int(amount)' }]`,
  );
  expect(await start().result(60_000)).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('rules_changed') as string,
  });
  start({}, '--accept-rules');
  await dlq(0, 'retry', three ?? '');
  await source.client.query(`UPDATE public.sale SET amount = '33' WHERE id = 3`);
  await restage(0, 'wait', '--target', 'new', '--timeout', '60');
  expect(await rows()).toEqual({ sale: ['1 11', '2 20', '3 33'], person: ['1 q', '2 r'] });
  expect(await list()).toEqual([]);
  await reportsChecks();
  await expectAudit([
    ['dropped', 'a test order', {}],
    ['retried', 'a typing error', { amount: '11' }],
  ]);
}, 300_000);

test('rows are held against others as their transaction leaves them, and go on once what they refer to is there', async () => {
  await using later = await createDatabase(15, 'shaped_later');
  await stop();
  for (const sql of [
    `INSERT INTO public.item VALUES (1, 100, 'a'); INSERT INTO public.sale VALUES (100, '1', 'g@y')`,
    `INSERT INTO public.item VALUES (2, 999, 'b')`,
    `INSERT INTO public.item VALUES (3, 100, 'a'), (4, NULL, NULL), (5, NULL, NULL)`,
    `UPDATE public.item SET code = code || 'x' WHERE id IN (1, 2)`,
  ])
    await source.client.query(`BEGIN; ${sql}; COMMIT`);
  await writeFile(
    config,
    `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" } }
transform:
  outputs:
    - name: checked
      tables: [public.item]
      validate:
        - { table: public.item, reference: { table: public.sale, on: { id: sale } }, onFailure: row }
        - { table: public.item, unique: [code], onFailure: row }
targets: [{ name: later, postgres: { url: "${later.url}" }, schema: create }]
`,
  );
  await expectKill(start({ RESTAGE_FAILPOINTS: 'transformer.stream.manifest=kill' }));
  start();
  const waiting = async (): Promise<string[]> => (await list()).map(({ rowKey, code }) => `${rowKey.id} ${code}`);
  const isAllThere = async (): Promise<boolean> => (await waiting()).length >= 3;
  await until(isAllThere, { what: 'what waits', timeoutMs: 60_000 });
  // Of item 2 its update waits too.
  expect(await waiting()).toEqual(['2 rule_failed', '3 rule_failed', '2 waits']);
  await source.client.query(`INSERT INTO public.sale VALUES (999, '1', 'h@y')`);
  const isRetried = async (): Promise<boolean> => {
    await runCli(['dlq', 'retry', '-c', config]);
    return (await list()).length === 0;
  };
  // Item 1 has another code by now.
  await until(isRetried, { what: 'the letters to go on', timeoutMs: 60_000 });
  const given: string[] = [];
  await readTopics([`${name}.shaped.checked.v1.public.item`], (_, { value }) => {
    const { op, after } = JSON.parse(String(value)) as { op: string; after: { id: number; code: string | null } };
    given.push(`${op} ${after.id} ${after.code ?? ''}`);
    return given.length >= 7;
  });
  expect(given).toEqual(['c 1 a', 'c 4 ', 'c 5 ', 'u 1 ax', 'c 2 b', 'c 3 a', 'u 2 bx']);
}, 180_000);

/** Of this life of the transformer: sale 3 was retried and changed, and what comes now. */
async function reportsChecks(): Promise<void> {
  await source.client.query(
    `BEGIN; INSERT INTO public.person VALUES (5, NULL); INSERT INTO public.sale VALUES (5, '5', 'e@y'), (6, '6', 'f@x'); COMMIT`,
  );
  const page = path.join(folder, 'checks.html');
  const isSaid = async (): Promise<string | null> => {
    const { code, stdout } = await runCli(['transform', 'report', '-c', config, '--html', page]);
    expect(code).toBe(1);
    return /notNull name +count +\d+ +1$/m.test(stdout) ? stdout : null;
  };
  const text = (await until(isSaid, { what: 'what the checks found', timeoutMs: 30_000 })) ?? '';
  expect(text).toMatch(/^check +on failure +passed +failed$/m);
  const failed = /^<at y> +count +1 +(\d+)$/m.exec(text)?.[1] ?? '';
  expect(Number(failed), text).toBeGreaterThan(1);
  expect(text).toMatch(
    new RegExp(
      `^  public\\.person: notNull name: topic ${name}\\.public\\.person, partition 0, offset \\d+: id=5, name=NULL$`,
      'm',
    ),
  );
  const html = await readFile(page, 'utf8');
  expect(html).toContain(
    `<td class="failed">&#60;at y&#62;</td><td>count</td><td class="n">1</td><td class="n">${failed}</td>`,
  );
  // A rule masks the column: neither page holds its value.
  for (const one of [text, html]) expect(one).not.toMatch(/[cef]@[xy]/);
  const json = JSON.parse(await restage(1, 'transform report', '--json')) as { outputs: { checks: object[] }[] };
  expect(json.outputs[0]?.checks[0]).toMatchObject({ onFailure: 'count', failed: 1 });
}

function start(env: NodeJS.ProcessEnv = {}, ...args: string[]): CliProcess {
  transformer = startCli(['transformer', '-c', config, ...args], env);
  running.push(transformer);
  return transformer;
}

async function stop(): Promise<void> {
  transformer?.kill('SIGTERM');
  expect(await transformer?.result(15_000)).toMatchObject({ code: 0 });
}

async function expectKill(one: CliProcess): Promise<void> {
  const killed = await one.result(60_000);
  expect(killed, killed.stderr).toMatchObject({ signal: 'SIGKILL' });
}

async function writeConfig(columns: string, more = ''): Promise<void> {
  await writeFile(
    config,
    `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" } }
masks: { keys: { k1: "a secret of thirty-two characters" } }
transform:
  outputs:
    - name: main
      quarantine: transaction
      rules:
        - table: public.sale
          columns: { ${columns}, mask: { mail: { method: hmac, key: k1 } } }
          ${more}
      validate:
        - { table: public.person, notNull: [name], onFailure: count }
        - { table: public.sale, pattern: { column: mail, matches: "@y$" }, name: "<at y>", onFailure: count }
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: create }]
`,
  );
}

async function restage(code: number, command: string, ...args: string[]): Promise<string> {
  const done = await runCli([...command.split(' '), '-c', config, ...args]);
  expect(done, `${command} ${args.join(' ')}: ${done.stdout}${done.stderr}${transformer?.stderr()}`).toMatchObject({
    code,
  });
  return done.stdout;
}

function dlq(code: number, command: string, ...args: string[]): Promise<string> {
  return restage(code, `dlq ${command}`, ...args);
}

async function list(): Promise<Listed[]> {
  return (JSON.parse(await dlq(0, 'list', '--json')) as { deadLetters: Listed[] }).deadLetters;
}

async function rows(): Promise<Record<string, string[]>> {
  const read = async (sql: string): Promise<string[]> =>
    (await target.client.query<{ row: string }>(sql)).rows.map(({ row }) => row);
  return {
    sale: await read(`SELECT id || ' ' || amount AS row FROM public.sale ORDER BY id`),
    person: await read(`SELECT id || ' ' || name AS row FROM public.person ORDER BY id`),
  };
}

/** Each once: they are in the Kafka transaction of their epoch, whatever died. */
async function expectTopicHas(letters: readonly Listed[]): Promise<void> {
  const found: string[] = [];
  await readTopics([`${name}.dlq`], (_, { headers }) => {
    found.push(headers.get('dlq.id')?.toString() ?? '');
    return found.length >= letters.length;
  });
  expect(found.toSorted()).toEqual(letters.map(({ id }) => id).toSorted());
}

async function expectAudit(wanted: readonly unknown[]): Promise<void> {
  const found: unknown[] = [];
  await readTopics([`${name}.dlq.audit`], (_, { value }) => {
    const { action, reason, set } = JSON.parse(String(value)) as { action: string; reason: string; set: object };
    if (reason !== '' && action !== 'kept') found.push([action, reason, set]);
    return found.length >= wanted.length + 1;
  });
  expect(found).toEqual(expect.arrayContaining([...wanted]));
}
