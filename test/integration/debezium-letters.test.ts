import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { startCli, type CliProcess } from '../harness/cli.ts';
import { runCommand } from '../harness/command.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';
import { ToldTopics } from '../harness/told-events.ts';
import { readTopics } from '../harness/topic-records.ts';
import { until } from '../harness/until.ts';

/** The target takes less than the events have, until it is mended. */
const TABLES = `
  CREATE TABLE public.item (id int4 PRIMARY KEY, n int2, note text CHECK (note <> 'no'));
  CREATE TABLE public.sale (id int4 PRIMARY KEY, item int4 REFERENCES public.item, n int4);`;
const MENDED = 'ALTER TABLE public.item ALTER n TYPE int8, DROP CONSTRAINT item_note_check';

let target: TestDatabase;
let folder: string;
let config: string;
let round = 0;
let topics: ToldTopics;

beforeAll(async () => {
  target = await createDatabase(15, 'theirs_letters');
  folder = await mkdtemp(path.join(tmpdir(), 'restage-letters-'));
});

afterAll(async () => {
  await target[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

beforeEach(async () => {
  await target.client.query(
    `DROP SCHEMA IF EXISTS restage CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public; ${TABLES}`,
  );
  topics = await ToldTopics.open(`${target.name}_${(round += 1)}`, ['item', 'sale']);
  config = path.join(folder, `${round}.yaml`);
  return () => topics[Symbol.asyncDispose]();
});

async function startSink(policy: string, isWhole: boolean, env: NodeJS.ProcessEnv = {}): Promise<CliProcess> {
  const { prefix } = topics;
  await writeFile(
    config,
    `name: ${prefix}_sink
kafka: { brokers: ["${testKafka()}"] }
source:
  debezium:
    topics: ["${prefix}.public.*"]
    schemas.enable: false
    ${isWhole ? `transaction.topic: ${prefix}.transaction` : ''}
targets: [{ name: new, postgres: { url: "${target.url}" }, quarantine: ${policy} }]
`,
  );
  return startCli(['sink', '--target', 'new', '-c', config], env);
}

interface Listed {
  readonly id: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  readonly rowKey: { readonly id: string } | null;
  readonly code: string;
  readonly event: string;
  readonly behind: string | null;
  readonly error: string;
}

async function listed(): Promise<Listed[]> {
  const { text } = await runCommand(['dlq', 'list', '-c', config, '--json']);
  return (JSON.parse(text) as { deadLetters: Listed[] }).deadLetters;
}

/** Waits until all that the topics hold is applied or a dead letter. */
async function settled(): Promise<void> {
  const { code, text } = await runCommand(['wait', '-c', config, '--target', 'new', '--timeout', '60']);
  expect(code, text).toBe(0);
}

async function rowsOf(table: 'item' | 'sale'): Promise<string[]> {
  const { rows } = await target.client.query<{ row: string }>(
    `SELECT t::text AS row FROM public.${table} AS t ORDER BY id`,
  );
  return rows.map(({ row }) => row);
}

const retry = (): Promise<{ readonly code: number; readonly text: string }> =>
  runCommand(['dlq', 'retry', '-c', config]);

test('row: what cannot be read, and what the target refuses, waits with all that comes to its key; the rest goes on; through a kill', async () => {
  const item = topics.topic('item');
  await topics.send({ table: 'item', op: 'r', snapshot: 'first', row: { id: 1, n: 1, note: 'a' } });
  await topics.send({ table: 'item', op: 'r', snapshot: 'last', row: { id: 2, n: 70_000, note: 'b' } });
  const broken = await topics.send({ table: 'item', op: 'c', key: { id: 3 }, raw: '{"op":"c","after":{"id":3' });
  await topics.send({ table: 'item', op: 'c', row: { id: 4, n: 4, note: 'no' } });
  await topics.send({ table: 'item', op: 'c', row: { id: 5, n: 5, note: 'e' } });
  topics.commit();
  await topics.send({ table: 'item', op: 'u', row: { id: 4, n: 44, note: 'no' } });
  await topics.send({ table: 'item', op: 'd', row: { id: 4 }, headers: { '__debezium.newkey': '{}' } });
  await topics.send({
    table: 'item',
    op: 'c',
    row: { id: 6, n: 6, note: '__debezium_unavailable_value' },
    headers: { '__debezium.oldkey': '{}' },
    isSamePlace: true,
  });
  await topics.send({ table: 'item', op: 'u', row: { id: 5, n: 55, note: 'e' } });
  const killed = await startSink('row', false, { RESTAGE_FAILPOINTS: 'sink.epoch.after=kill' });
  expect(await killed.result()).toMatchObject({ signal: 'SIGKILL' });
  await using sink = await startSink('row', false);
  await settled();
  expect(await rowsOf('item')).toEqual(['(1,1,a)', '(5,55,e)']);
  // Nothing but time orders topics that have no transactions: the child comes once its parent waits.
  await topics.send({ table: 'sale', op: 'c', row: { id: 1, item: 2, n: 1 } });
  await until(async () => (await listed()).length === 6, { what: 'six dead letters' });
  const letters = await listed();
  expect(letters.map(({ rowKey, event, code }) => `${rowKey?.id} ${event} ${code}`)).toEqual([
    '2 insert record_invalid',
    '3 unknown record_invalid',
    '4 insert target_constraint',
    '4 update held',
    '4 update held',
    '1 insert held',
  ]);
  expect(letters[1]).toMatchObject({ topic: item, partition: 0, offset: String(broken), behind: null });
  expect(letters[1]?.error).toContain('cannot be read: its value');
  const relayed = await readTopics([`${topics.prefix}_sink.dlq`], (records) => records.length >= 6);
  expect(new Set(relayed.map(({ headers }) => headers.get('dlq.id')?.toString())).size).toBe(6);
  expect((await runCommand(['status', '-c', config])).text).toContain('6');
  expect(await retry()).toMatchObject({ code: 1 });
  expect(await rowsOf('item')).toEqual(['(1,1,a)', '(5,55,e)']);
  await target.client.query(MENDED);
  expect(await retry()).toMatchObject({ code: 1 });
  expect(await rowsOf('item')).toEqual(['(1,1,a)', '(2,70000,b)', '(5,55,e)', '(6,6,no)']);
  expect(await rowsOf('sale')).toEqual(['(1,2,1)']);
  const [left, ...others] = await listed();
  expect(others).toEqual([]);
  const dropped = await runCommand(['dlq', 'drop', '-c', config, '--yes', left?.id ?? '']);
  expect(dropped.code, dropped.text).toBe(0);
  await topics.send({ table: 'item', op: 'c', row: { id: 3, n: 3, note: 'c' } });
  await until(async () => (await rowsOf('item')).includes('(3,3,c)'), { what: 'the freed key to be followed' });
  // A snapshot brings whatever waits: it is in its rows.
  await target.client.query("ALTER TABLE public.item ADD CHECK (note <> 'never')");
  await topics.send({ table: 'item', op: 'u', row: { id: 3, n: 3, note: 'never' } });
  await until(async () => (await listed()).length === 1, { what: 'a dead letter' });
  await topics.send({ table: 'item', op: 'r', snapshot: 'first', row: { id: 3, n: 4, note: 'c' } });
  await topics.send({ table: 'item', op: 'r', snapshot: 'last', key: { id: 5 }, raw: '{' });
  await topics.send({ table: 'item', op: 'c', row: { id: 9, n: 9, note: 'i' } });
  await until(async () => (await rowsOf('item')).length === 3, { what: 'the new snapshot' });
  expect(await rowsOf('item')).toEqual(['(3,4,c)', '(5,55,e)', '(9,9,i)']);
  expect((await listed()).map(({ rowKey, code }) => `${rowKey?.id} ${code}`)).toEqual(['5 record_invalid']);
  expect(sink.hasEnded()).toBe(false);
});

test('transaction: the whole one waits, over all its tables and however large, and later ones that touch its rows', async () => {
  await topics.send({ table: 'item', op: 'r', snapshot: 'last', row: { id: 1, n: 1, note: 'a' } });
  await topics.send({ table: 'sale', op: 'r', snapshot: 'last', row: { id: 1, item: 1, n: 1 } });
  await using sink = await startSink('transaction', true);
  await topics.transaction(7, [
    { table: 'sale', op: 'c', row: { id: 2, item: 1, n: 2 } },
    { table: 'item', op: 'u', row: { id: 1, n: 70_000, note: 'a' } },
  ]);
  await topics.transaction(8, [
    { table: 'sale', op: 'c', row: { id: 3, item: 1, n: 3 } },
    { table: 'sale', op: 'u', row: { id: 2, item: 1, n: 22 } },
  ]);
  await topics.transaction(9, [{ table: 'item', op: 'c', row: { id: 4, n: 4, note: 'd' } }]);
  await topics.transaction(10, [{ table: 'item', op: 'c', row: { id: 5, n: 'five', note: 'e' } }]);
  await settled();
  expect(await rowsOf('item')).toEqual(['(1,1,a)', '(4,4,d)']);
  expect(await rowsOf('sale')).toEqual(['(1,1,1)']);
  const letters = await listed();
  expect(letters.map(({ topic, code }) => `${topic.split('.').at(-1)} ${code}`)).toEqual([
    'sale held',
    'item record_invalid',
    'sale held',
    'sale held',
    'item record_invalid',
  ]);
  await target.client.query(MENDED);
  expect((await retry()).code).toBe(1);
  expect(await rowsOf('item')).toEqual(['(1,70000,a)', '(4,4,d)']);
  expect(await rowsOf('sale')).toEqual(['(1,1,1)', '(2,1,22)', '(3,1,3)']);
  // Its first part is in the target's transaction when its last event is refused.
  const flood = Array.from({ length: 3 }, (_, at) => ({
    table: 'sale',
    op: 'c' as const,
    row: { id: 100 + at, item: 1, n: at, pad: 'x'.repeat(900_000) },
  }));
  await target.client.query('ALTER TABLE public.sale ADD COLUMN pad text CHECK (length(pad) > 3)');
  await topics.transaction(11, [
    ...flood,
    ...flood.map((one) => ({ ...one, row: { ...one.row, id: one.row.id + 10 } })),
    { table: 'sale', op: 'c', row: { id: 200, item: 1, n: 0, pad: 'no' } },
  ]);
  await topics.transaction(12, [{ table: 'item', op: 'c', row: { id: 6, n: 6, note: 'f' } }]);
  await settled();
  expect((await rowsOf('sale')).length).toBe(3);
  expect((await rowsOf('item')).at(-1)).toBe('(6,6,f)');
  expect(await listed()).toHaveLength(8);
  // Nobody can tell whose transaction a record is of that is none.
  const offset = await topics.send({ table: 'item', op: 'c', key: { id: 7 }, raw: 'x' });
  const stopped = await sink.result();
  expect(stopped.code).toBe(4);
  expect(stopped.stderr).toContain(`topic ${topics.topic('item')}, partition 0, offset ${offset}`);
});

test('row, with transactions: a record that cannot be read may be one that a transaction counts, or one more', async () => {
  await using sink = await startSink('row', true);
  const broken = { raw: '{' } as const;
  await topics.transaction(7, [
    { table: 'item', op: 'c', row: { id: 1, n: 1, note: 'a' } },
    { table: 'item', op: 'c', key: { id: 2 }, ...broken },
    { table: 'item', op: 'c', row: { id: 3, n: 3, note: 'c' } },
    { table: 'sale', op: 'c', row: { id: 1, item: 3, n: 1 } },
  ]);
  await topics.send({ table: 'sale', op: 'c', key: { id: 9 }, ...broken });
  await topics.transaction(8, [
    { table: 'sale', op: 'c', row: { id: 2, item: 1, n: 2 } },
    { table: 'item', op: 'c', key: { id: 4 }, ...broken },
  ]);
  await topics.transaction(9, [{ table: 'item', op: 'c', row: { id: 5, n: 5, note: 'e' } }]);
  await settled();
  expect(await rowsOf('item')).toEqual(['(1,1,a)', '(3,3,c)', '(5,5,e)']);
  expect(await rowsOf('sale')).toEqual(['(1,3,1)', '(2,1,2)']);
  expect((await listed()).map(({ rowKey }) => rowKey?.id)).toEqual(['2', '9', '4']);
  expect(sink.hasEnded()).toBe(false);
});
