import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readTables } from '#adapters/postgres/catalog.ts';
import type { QuarantinePolicy } from '#core/quarantine.ts';
import type { TableStructure } from '#core/structure.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { PIPELINE, runSink, type MemorySink } from '../harness/memory-sink.ts';
import { MemoryTopics, type TestChange } from '../harness/memory-topics.ts';

const TABLES = `
  CREATE TABLE public.parent (id int PRIMARY KEY, code text UNIQUE);
  CREATE TABLE public.child (id int PRIMARY KEY, parent int REFERENCES public.parent, code text REFERENCES public.parent (code), n bigint);
  CREATE TABLE public.item (id int PRIMARY KEY, mail text, n bigint);
  CREATE TABLE public.price (amount numeric PRIMARY KEY, n bigint);
  CREATE TABLE public.tag (name text, n bigint);
  ALTER TABLE public.tag REPLICA IDENTITY FULL`;

let database: TestDatabase;
let tables: Map<string, TableStructure>;
let topics: MemoryTopics;

beforeAll(async () => {
  database = await createDatabase(15, 'quarantine');
  await database.client.query(TABLES);
  tables = new Map((await readTables(database.client, PIPELINE)).map((table) => [table.table, table]));
});

afterAll(async () => {
  await database[Symbol.asyncDispose]();
});

beforeEach(async () => {
  await database.client.query(
    `DROP SCHEMA IF EXISTS restage CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public; ${TABLES}`,
  );
  // What an epoch has that is bad may be good again in one that it is folded with.
  topics = new MemoryTopics('life-1', 1);
  topics.plan(1, [...tables.values()]);
  for (const table of tables.values()) topics.tableEnd(1, table, 100);
  topics.end(1);
  topics.empty(101);
  await run('stop', 101);
});

type Cells = NonNullable<TestChange['after']>;

function on(name: string): TableStructure {
  const table = tables.get(name);
  if (table === undefined) throw new Error(`the test has no table ${name}`);
  return table;
}

const add = (table: string, commit: number, after: Cells): TestChange => ({
  structure: on(table),
  commit,
  op: 'c',
  after,
});
const change = (table: string, commit: number, after: Cells, before?: Cells): TestChange => ({
  structure: on(table),
  commit,
  op: 'u',
  after,
  ...(before === undefined ? {} : { before }),
});
const remove = (table: string, commit: number, before: Cells): TestChange => ({
  structure: on(table),
  commit,
  op: 'd',
  before,
});
const item = (commit: number, id: number, mail = `m${id}`, n = 1): TestChange => add('item', commit, { id, mail, n });

function run(policy: QuarantinePolicy, through: number): Promise<MemorySink> {
  return runSink({ url: database.url, client: database.client, topics, policy }, through);
}

async function all(sql: string): Promise<unknown[]> {
  return (await database.client.query<Record<string, unknown>>(sql)).rows;
}

async function ids(table: string): Promise<number[]> {
  return (await database.client.query<{ id: number }>(`SELECT id FROM public.${table} ORDER BY id`)).rows.map(
    ({ id }) => id,
  );
}

interface Letter {
  readonly at: string;
  readonly kind: string;
  readonly code: string;
  readonly behind: string | null;
}

/** In the source's order; `at` is commit/ordinal among the letters of it; `behind` the row that it waits behind. */
async function letters(): Promise<Letter[]> {
  return (await all(`
    SELECT l.table_name || ' ' || coalesce(l.row_key::text, '') || ' ' || (l.commit_lsn - '0/0')::int AS at, l.kind, l.code,
           b.table_name || ' ' || coalesce(b.row_key::text, '') || ' ' || (b.commit_lsn - '0/0')::int AS behind
      FROM restage.dead_letter l LEFT JOIN restage.dead_letter b ON b.id = l.behind ORDER BY l.commit_lsn, l.ordinal`)) as Letter[];
}

const FAULTS: readonly { name: string; target: string; bad: () => TestChange; code: string }[] = [
  {
    name: 'a unique value that somebody planted',
    target: `CREATE UNIQUE INDEX ON public.item (mail); INSERT INTO public.item VALUES (900, 'm2', 0)`,
    bad: () => item(120, 2),
    code: 'target_constraint',
  },
  {
    name: 'a primary key that somebody planted',
    target: `INSERT INTO public.item VALUES (2, 'planted', 0)`,
    bad: () => item(120, 2),
    code: 'target_constraint',
  },
  {
    name: 'a check that only the target has',
    target: 'ALTER TABLE public.item ADD CHECK (n < 100)',
    bad: () => item(120, 2, 'm2', 100),
    code: 'target_constraint',
  },
  {
    name: 'a number too large for a narrower column',
    target: 'ALTER TABLE public.item ALTER n TYPE int',
    bad: () => item(120, 2, 'm2', 3_000_000_000),
    code: 'target_value',
  },
  {
    name: 'a trigger of the target that refuses',
    target: `CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.n = 7 THEN RAISE 'not seven'; END IF; RETURN NEW; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON public.item FOR EACH ROW EXECUTE FUNCTION public.refuse();
             ALTER TABLE public.item ENABLE ALWAYS TRIGGER refuse`,
    bad: () => item(120, 2, 'm2', 7),
    code: 'target_refused',
  },
];

describe.each(FAULTS)('$name', ({ target, bad, code }) => {
  /** One epoch of three transactions, the second with one bad row of two, and later ones in another epoch. */
  beforeEach(async () => {
    await database.client.query(target);
    topics.stream([
      item(110, 1),
      item(120, 20),
      bad(),
      item(130, 3),
      change('item', 130, { id: 1, mail: 'm1b', n: 2 }),
    ]);
    topics.stream([
      change('item', 140, { id: 2, mail: 'later', n: 1 }),
      item(140, 40),
      change('item', 150, { id: 3, mail: 'm3b', n: 1 }),
    ]);
  });

  it('stop: ends with what, where and the fix, and keeps nothing of the epoch', async () => {
    await expect(run('stop', 151)).rejects.toMatchObject({
      code,
      where: expect.stringMatching(/public\.item.*id=2, LSN 0\/78/),
      fix: expect.stringMatching(/goes on from here/),
    });
    expect(await ids('item')).not.toContain(1);
  });

  it('transaction: the whole one is a dead letter, and so is what touches one of its rows later', async () => {
    const { status, sent } = await run('transaction', 151);
    expect((await ids('item')).filter((id) => id < 100 && id !== 2)).toEqual([1, 3]);
    expect(await all('SELECT mail FROM public.item WHERE id IN (1, 3) ORDER BY id')).toEqual([
      { mail: 'm1b' },
      { mail: 'm3b' },
    ]);
    const root = 'item {"id": "2"} 120';
    const held = 'item {"id": "2"} 140';
    expect(await letters()).toEqual([
      { at: 'item {"id": "20"} 120', kind: 'insert', code: 'held', behind: root },
      { at: root, kind: 'insert', code, behind: null },
      { at: held, kind: 'update', code: 'held', behind: root },
      { at: 'item {"id": "40"} 140', kind: 'insert', code: 'held', behind: held },
    ]);
    expect(status).toMatchObject({ deadLetters: 4, heldKeys: 3 });
    expect(sent).toHaveLength(4);
    expect(JSON.parse(sent[1]?.value?.toString() ?? '')).toMatchObject({ op: 'c', after: { id: 2 } });
  });

  it('row: the row alone, and what comes to it later', async () => {
    const { status } = await run('row', 151);
    expect((await ids('item')).filter((id) => id < 100 && id !== 2)).toEqual([1, 3, 20, 40]);
    expect(await letters()).toEqual([
      { at: 'item {"id": "2"} 120', kind: 'insert', code, behind: null },
      { at: 'item {"id": "2"} 140', kind: 'update', code: 'held', behind: 'item {"id": "2"} 120' },
    ]);
    expect(status).toMatchObject({ deadLetters: 2, heldKeys: 1 });
  });
});

describe.each(['transaction', 'row'] as const)('%s', (policy) => {
  it('children wait behind the parent that is missing, and its parent behind a child that is', async () => {
    await database.client.query(
      `ALTER TABLE public.parent ADD CHECK (id <> 2); ALTER TABLE public.child ADD CHECK (n < 100)`,
    );
    topics.stream([add('parent', 110, { id: 1, code: 'a' }), add('parent', 120, { id: 2, code: 'b' })]);
    topics.stream([
      add('child', 130, { id: 1, parent: 1, code: null, n: 1 }),
      add('child', 140, { id: 2, parent: 2, code: null, n: 1 }),
      add('child', 150, { id: 3, parent: null, code: 'b', n: 1 }),
      change('child', 160, { id: 1, parent: 1, code: null, n: 100 }),
      change('child', 170, { id: 2, parent: 1, code: null, n: 2 }),
    ]);
    topics.stream([remove('child', 180, { id: 1 }), remove('parent', 190, { id: 1 })]);
    await run(policy, 191);
    expect(await ids('parent')).toEqual([1]);
    expect(await all('SELECT id, n FROM public.child')).toEqual([{ id: 1, n: '1' }]);
    expect((await letters()).map(({ at, behind }) => `${at} ${behind ?? 'itself'}`)).toEqual([
      'parent {"id": "2"} 120 itself',
      'child {"id": "2"} 140 parent {"id": "2"} 120',
      'child {"id": "3"} 150 parent {"id": "2"} 120',
      'child {"id": "1"} 160 itself',
      'child {"id": "2"} 170 child {"id": "2"} 140',
      'child {"id": "1"} 180 child {"id": "1"} 160',
      'parent {"id": "1"} 190 child {"id": "2"} 170',
    ]);
  });

  it('rows whose keys are equal in more than one text wait together', async () => {
    await database.client.query('ALTER TABLE public.price ADD CHECK (n < 100)');
    topics.stream([add('price', 110, { amount: '1.0', n: 100 }), add('price', 120, { amount: '2.0', n: 1 })]);
    topics.stream([change('price', 130, { amount: '1.00', n: 2 }), item(140, 1)]);
    await run(policy, 141);
    expect(await all('SELECT FROM public.price')).toEqual([]);
    expect(await ids('item')).toEqual([1]);
    expect(await letters()).toHaveLength(3);
  });

  it('rows without a key wait by all their columns', async () => {
    await database.client.query('ALTER TABLE public.tag ADD CHECK (n < 100)');
    topics.stream([add('tag', 110, { name: 'a', n: 100 }), add('tag', 120, { name: 'a', n: 1 })]);
    topics.stream([
      change('tag', 130, { name: 'a', n: 2 }, { name: 'a', n: 100 }),
      remove('tag', 140, { name: 'a', n: 2 }),
      remove('tag', 150, { name: 'a', n: 1 }),
    ]);
    await run(policy, 151);
    expect(await all('SELECT name, n FROM public.tag')).toEqual([]);
    expect((await letters()).map(({ at }) => at)).toEqual(['tag  110', 'tag  130', 'tag  140']);
  });

  it('TRUNCATE waits for the rows that wait, and what comes after it waits for it', async () => {
    await database.client.query('ALTER TABLE public.item ADD CHECK (n < 100)');
    topics.stream([item(110, 1), item(120, 2, 'm2', 100)]);
    topics.stream([add('tag', 135, { name: 'a', n: 1 }), item(140, 3)], {
      control: [topics.truncate([on('item')], 130)],
    });
    await run(policy, 141);
    expect(await ids('item')).toEqual([1]);
    expect(await all('SELECT name FROM public.tag')).toEqual([{ name: 'a' }]);
    expect((await letters()).map(({ at, kind }) => `${at} ${kind}`)).toEqual([
      'item {"id": "2"} 120 insert',
      'item  130 truncate',
      'item {"id": "3"} 140 insert',
    ]);
  });

  it('somebody who wrote to the target is no fault of an event: the sink stops', async () => {
    topics.stream([item(110, 1)]);
    await run(policy, 111);
    await database.client.query('DELETE FROM public.item');
    topics.stream([change('item', 120, { id: 1, mail: 'x', n: 1 })]);
    await expect(run(policy, 121)).rejects.toMatchObject({ code: 'target_drift' });
    expect(await letters()).toEqual([]);
  });
});

it('transaction: one that is found out in its second part is left out from its first on', async () => {
  await database.client.query('ALTER TABLE public.item ADD CHECK (n < 100)');
  topics.stream([item(110, 1), item(120, 2)], { last: false });
  topics.stream([item(120, 3, 'm3', 100)], { last: false });
  topics.stream([item(120, 4), item(130, 5), change('item', 140, { id: 2, mail: 'later', n: 1 })]);
  await run('transaction', 141);
  expect(await ids('item')).toEqual([1, 5]);
  expect((await letters()).map(({ at }) => at)).toEqual([
    'item {"id": "2"} 120',
    'item {"id": "3"} 120',
    'item {"id": "4"} 120',
    'item {"id": "2"} 140',
  ]);
});

it('transaction: one whose first part has nothing but a TRUNCATE keeps the rows that it would have removed', async () => {
  await database.client.query('ALTER TABLE public.item ADD CHECK (n < 100)');
  topics.stream([item(110, 1)]);
  topics.stream([], { last: false, control: [topics.truncate([on('item')], 120)] });
  topics.stream([item(120, 2, 'm2', 100)]);
  await run('transaction', 121);
  expect(await ids('item')).toEqual([1]);
  expect((await letters()).map(({ at }) => at)).toEqual(['item  120', 'item {"id": "2"} 120']);
});

it('finds three bad transactions among five hundred, and applies the others', async () => {
  await database.client.query('ALTER TABLE public.item ADD CHECK (n < 100)');
  const bad = new Set([17, 18, 433]);
  topics.stream(Array.from({ length: 500 }, (_, at) => item(1_000 + at, at, `m${at}`, bad.has(at) ? 100 : 1)));
  await run('transaction', 1_500);
  expect(await ids('item')).toEqual(Array.from({ length: 500 }, (_, at) => at).filter((at) => !bad.has(at)));
  expect((await letters()).map(({ behind }) => behind)).toEqual([null, null, null]);
});

it('stop, while dead letters of before wait: their rows go on waiting, and the next fault stops the sink', async () => {
  await database.client.query('ALTER TABLE public.item ADD CHECK (n < 100)');
  topics.stream([item(110, 1, 'm1', 100)]);
  await run('transaction', 111);
  topics.stream([change('item', 120, { id: 1, mail: 'later', n: 1 }), item(130, 2)]);
  await run('stop', 131);
  expect(await ids('item')).toEqual([2]);
  topics.stream([item(140, 3), item(150, 4, 'm4', 100), change('item', 160, { id: 1, mail: 'last', n: 1 })]);
  await expect(run('stop', 161)).rejects.toMatchObject({ code: 'target_constraint' });
  expect(await ids('item')).toEqual([2]);
  expect((await letters()).map(({ at }) => at)).toEqual(['item {"id": "1"} 110', 'item {"id": "1"} 120']);
});
