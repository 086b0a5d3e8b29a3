import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { readTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { TargetState } from '#adapters/postgres/target/target-state.ts';
import { readTargetTable, type TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { RowChange } from '#core/change.ts';
import { lsnOf } from '#core/lsn.ts';
import { postgresTarget } from '../../services/sink/postgres-target.ts';
import type { TargetSession, TargetSessions } from '../../services/sink/target.ts';
import { insert, remove, update, updateWhole } from '../harness/changes.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { until } from '../harness/until.ts';

const PIPELINE = 'shop';
const BEGUN = lsnOf(10n);
const TO = { epoch: 3, commit: lsnOf(20n), through: lsnOf(21n), nextOffset: 7n };

let database: TestDatabase;
let session: TargetSession;
let watcher: pg.Client;
let tables: Map<string, TargetTable>;

const connect = (): Promise<pg.Client> =>
  connectPg({ url: database.url, purpose: 'target', application: 'restage test at once' });

const openTarget = (): TargetSessions => postgresTarget(PIPELINE, connect, new TargetState(PIPELINE, randomUUID()));

beforeAll(async () => {
  database = await createDatabase(18, 'at_once');
  watcher = await connect();
  await watcher.query(`
    CREATE TABLE public.item (id int PRIMARY KEY, name text, big text, twice int GENERATED ALWAYS AS (id * 2) STORED);
    CREATE TABLE public.log (what text, at timestamptz);
    CREATE TABLE public.late (id int PRIMARY KEY, place int UNIQUE DEFERRABLE);
    CREATE TABLE public.checked (id int PRIMARY KEY, n int CHECK (n > 0));
    CREATE TABLE public.numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
    CREATE TABLE public.bare ();
    ALTER TABLE public.log REPLICA IDENTITY FULL`);
  session = await openTarget().open();
  await session.takeover.actAsReplica();
  await session.takeover.prepareState();
  tables = new Map();
  for (const structure of await readTables(watcher, PIPELINE))
    if (structure.schema === 'public') tables.set(structure.table, await readTargetTable(watcher, structure));
});

beforeEach(async () => {
  await watcher.query('TRUNCATE public.item, public.log, public.late, public.checked, public.numbered, public.bare');
  await watcher.query('DELETE FROM restage.checkpoint');
  await session.position.begin('life', 1n, BEGUN);
});

afterAll(async () => {
  await session.end();
  await watcher.end();
  await database[Symbol.asyncDispose]();
});

it('applies every kind of change and moves the position, unseen until the commit', async () => {
  await watcher.query(`INSERT INTO public.item (id, name, big) VALUES (1, 'a', 'A'), (2, 'b', 'B'), (3, 'c', 'C')`);
  await watcher.query('INSERT INTO public.late VALUES (1, 1), (2, 2)');
  const log = Array.from({ length: 150 }, (_, index) =>
    insert({ what: index === 0 ? '{"a,\\"}' : `n ${index}`, at: index === 1 ? null : '2026-01-01 00:00:00+00' }),
  );
  const isDone = await applyAtOnce([
    [
      'item',
      [
        update({ id: '1' }, { id: '1', name: 'a2' }),
        update({ id: '2' }, { id: '20', name: 'b' }),
        remove({ id: '3' }),
        insert({ id: '4', name: null, big: 'D' }),
      ],
    ],
    ['log', log],
    // Each takes the other's place: they only fit when both are there.
    ['late', [update({ id: '1' }, { id: '1', place: '2' }), update({ id: '2' }, { id: '2', place: '1' })]],
    ['bare', [insert({}), insert({})]],
  ]);
  expect(isDone).toBe(true);
  expect(await rows('SELECT name FROM public.item ORDER BY id')).toEqual([{ name: 'a' }, { name: 'b' }, { name: 'c' }]);
  expect(await through()).toBe('0/A');

  await session.transaction.commit();
  expect(await rows('SELECT id, name, big, twice FROM public.item ORDER BY id')).toEqual([
    { id: 1, name: 'a2', big: 'A', twice: 2 },
    { id: 4, name: null, big: 'D', twice: 8 },
    { id: 20, name: 'b', big: 'B', twice: 40 },
  ]);
  expect(
    await rows(`SELECT count(*)::int AS n, min(what COLLATE "C") AS least, count(at)::int AS times FROM public.log`),
  ).toEqual([{ n: 150, least: 'n 1', times: 149 }]);
  expect(await rows('SELECT id, place FROM public.late ORDER BY id')).toEqual([
    { id: 1, place: 2 },
    { id: 2, place: 1 },
  ]);
  expect(await rows('SELECT count(*)::int AS n FROM public.bare')).toEqual([{ n: 2 }]);
  expect(
    await rows('SELECT epoch::int, commit_lsn::text, through::text, next_offset::int FROM restage.checkpoint'),
  ).toEqual([{ epoch: 3, commit_lsn: '0/14', through: '0/15', next_offset: 7 }]);
});

it.each([
  [
    'a row is not there',
    'item',
    () => [insert({ id: '1', name: 'x', big: null }), update({ id: '9' }, { id: '9', name: 'y' })],
  ],
  ['a constraint refuses it', 'checked', () => [insert({ id: '1', n: '1' }), insert({ id: '2', n: '0' })]],
  ['a value does not fit', 'checked', () => [insert({ id: '1', n: 'many' })]],
  ['a constraint refuses the last of many', 'checked', () => [...numbered(20_000), insert({ id: '0', n: '0' })]],
  ['a value among many does not fit', 'checked', () => [...numbered(20_000), insert({ id: '0', n: 'many' })]],
  ['only INSERT may give a value', 'numbered', () => [insert({ id: '1', name: 'a' })]],
  ['a row is known by all it has', 'log', () => [updateWhole({ what: 'a', at: null }, { what: 'b', at: null })]],
] satisfies [string, string, () => RowChange[]][])(
  'leaves nothing behind, and no transaction, where %s',
  async (_why, table, changes) => {
    expect(
      await applyAtOnce([
        ['item', [insert({ id: '50', name: 'before', big: null })]],
        [table, changes()],
      ]),
    ).toBe(false);
    // A transaction is begun here, which the server would not do inside another.
    await session.transaction.begin('UPDATE');
    await session.transaction.rollback();
    expect(await rows('SELECT FROM public.item')).toEqual([]);
    expect(await through()).toBe('0/A');
  },
);

it.each([1, 5_000])('fails as what of %i rows cannot be made, and the session goes on', async (count) => {
  const fault = new Error('no such value');
  const broken = new Map([
    ['id', '0'],
    ['n', '1'],
  ]);
  broken.get = (name) => {
    if (name === 'id') return '0';
    throw fault;
  };
  const all = [...numbered(count - 1), { ...insert({}), after: broken }];
  await expect(applyAtOnce([['checked', all]])).rejects.toBe(fault);
  expect(await applyAtOnce([['checked', numbered(3)]])).toBe(true);
  await session.transaction.commit();
  expect(await rows('SELECT count(*)::int AS n FROM public.checked')).toEqual([{ n: 3 }]);
});

it('is for the one who has the target: whoever lost it is told so step by step', async () => {
  const other = await openTarget().open();
  try {
    await other.position.open();
    expect(await applyAtOnce([['item', [insert({ id: '1', name: 'a', big: null })]]])).toBe(false);
    await expect(session.transaction.begin('UPDATE')).rejects.toMatchObject({ code: 'lease_lost' });
    expect(await rows('SELECT FROM public.item')).toEqual([]);
  } finally {
    await other.end();
    await session.position.open();
  }
});

it('fails with its connection, and nothing is committed', async () => {
  const own = openTarget();
  const lost = await own.open();
  await lost.position.open();
  const blocker = await connect();
  try {
    await blocker.query('BEGIN');
    await blocker.query('LOCK TABLE public.item');
    const applied = lost.applyAtOnce(changesOf([['item', [insert({ id: '1', name: 'a', big: null })]]]), TO);
    await expect(Promise.all([applied, endWaiting(blocker)])).rejects.toMatchObject({ code: '57P01' });
  } finally {
    await blocker.end();
    await lost.end();
    await session.position.open();
  }
  expect(await rows('SELECT FROM public.item')).toEqual([]);
  expect(await through()).toBe('0/A');
});

/** Ends whoever waits for the table, as soon as somebody does. */
async function endWaiting(client: pg.Client): Promise<void> {
  const sql = `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'public.item'::regclass AND NOT granted`;
  await until(async () => (await client.query(sql)).rowCount === 1, { what: 'the other session to wait' });
}

function numbered(count: number): RowChange[] {
  return Array.from({ length: count }, (_, index) => insert({ id: String(index + 1), n: '1' }));
}

type Named = readonly (readonly [table: string, changes: readonly RowChange[]])[];

function applyAtOnce(changes: Named): Promise<boolean> {
  return session.applyAtOnce(changesOf(changes), TO);
}

function changesOf(changes: Named): { table: TargetTable; changes: readonly RowChange[] }[] {
  return changes.map(([name, list]) => {
    const table = tables.get(name);
    if (table === undefined) throw new Error(`no table ${name}`);
    return { table, changes: list };
  });
}

async function rows(sql: string): Promise<unknown[]> {
  return (await watcher.query<Record<string, unknown>>(sql)).rows;
}

async function through(): Promise<unknown> {
  const [row] = (await watcher.query<{ through: string }>('SELECT through::text FROM restage.checkpoint')).rows;
  return row?.through;
}
