import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { readTargetTable, type TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { RowChange } from '#core/change.ts';
import type { ErrorCode } from '#core/errors.ts';
import type { Position } from '#core/position.ts';
import type { Cut } from '../../services/sink/epoch-apply.ts';
import { applyInTransaction } from '../harness/apply-part.ts';
import { insert, next, remove, removeWhole, update, updateWhole, type Cells } from '../harness/changes.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';

const SCHEMA_SQL = `
  CREATE TYPE public.mood AS ENUM ('ok', 'it''s "bad"');
  CREATE TYPE public.pair AS (a int, b text);
  CREATE TABLE public.item (id int PRIMARY KEY, name text, big text, twice int GENERATED ALWAYS AS (id * 2) STORED);
  CREATE TABLE public.numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
  CREATE TABLE public.slot (id int PRIMARY KEY, place int UNIQUE);
  CREATE TABLE public.late (id int PRIMARY KEY, place int UNIQUE DEFERRABLE);
  CREATE TABLE public.exact (id numeric PRIMARY KEY, name text);
  CREATE TABLE public.loose (id int NOT NULL, name text, note text);
  CREATE TABLE public.heap (flag bool, code char(4), net inet, p public.pair, j json, f float8, t text);
  ALTER TABLE public.heap REPLICA IDENTITY FULL;
  CREATE TABLE public.odd ("Ünïq""col" text, at timestamptz, day date, id uuid, bits bit(3), vary bit varying(5), c char(3), m public.mood,
    list text[], raw bytea, num numeric(10,2), PRIMARY KEY ("Ünïq""col", at, day, id));
  CREATE TABLE public.parent (id int PRIMARY KEY);
  CREATE TABLE public.child (id int PRIMARY KEY, parent int REFERENCES public.parent);
  CREATE TABLE public.checked (id int PRIMARY KEY, n int CHECK (n > 0));
  CREATE TABLE public.watched (id int PRIMARY KEY, n int);
  CREATE TABLE public.steps (n serial, what text);
  CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.steps (what) VALUES (TG_OP || ' ' || NEW.n); RETURN NEW; END $$;
  CREATE TRIGGER noted AFTER INSERT OR UPDATE ON public.watched FOR EACH ROW EXECUTE FUNCTION public.note();
  ALTER TABLE public.watched ENABLE ALWAYS TRIGGER noted;
`;

let database: TestDatabase;
let client: pg.Client;
let tables: Map<string, TargetTable>;

beforeAll(async () => {
  database = await createDatabase(15, 'apply');
  await database.client.query(SCHEMA_SQL);
  client = await connectPg({ url: database.url, purpose: 'target', application: 'restage test apply' });
  await client.query('SET session_replication_role = replica');
  tables = new Map();
  for (const structure of await readTables(client, 'shop')) {
    // What the sink knows of public.loose is a key that its target has no index for.
    const known =
      structure.table === 'loose'
        ? { ...structure, identity: { kind: 'primaryKey', columns: ['id'], isFull: false } as const }
        : structure;
    tables.set(structure.table, await readTargetTable(client, known));
  }
});

afterAll(async () => {
  await client.end();
  await database[Symbol.asyncDispose]();
});

beforeEach(async () => {
  const names = [...tables.values()].map((one) => one.sql).join(', ');
  await client.query(`TRUNCATE ${names}`);
});

describe('inserts, updates and deletes', () => {
  it('bring few rows and many, generated columns left to the target', async () => {
    await apply([['item', [insert({ id: '1', name: 'a\\b\t"c"\n', big: null })]]]);
    await apply([
      [
        'item',
        Array.from({ length: 250 }, (_, index) => insert({ id: String(index + 10), name: `\\N ${index}`, big: '' })),
      ],
    ]);
    expect(await rows('SELECT name, big, twice FROM public.item WHERE id = 1')).toEqual([
      { name: 'a\\b\t"c"\n', big: null, twice: '2' },
    ]);
    expect(
      await rows(
        `SELECT count(*) AS n, sum(twice) AS twice FROM public.item WHERE name = '\\N ' || id - 10 AND big = ''`,
      ),
    ).toEqual([{ n: '250', twice: '67250' }]);
  });

  it('keep a value that an update does not send', async () => {
    await apply([['item', [insert({ id: '1', name: 'a', big: 'B' }), update({ id: '1' }, { id: '1', name: 'b' })]]]);
    await apply([['item', [update({ id: '1' }, { id: '1', name: 'c' })]]]);
    expect(await rows('SELECT name, big FROM public.item')).toEqual([{ name: 'c', big: 'B' }]);
  });

  it('follow keys: moved, moved back, deleted and inserted again', async () => {
    await apply([['item', [insert({ id: '1', name: 'a', big: 'A' }), insert({ id: '2', name: 'b', big: 'B' })]]]);
    await apply([
      [
        'item',
        [
          remove({ id: '2' }),
          update({ id: '1' }, { id: '2', name: 'a2' }),
          insert({ id: '1', name: 'new', big: 'N' }),
          remove({ id: '1' }),
          insert({ id: '1', name: 'newer', big: null }),
        ],
      ],
    ]);
    expect(await rows('SELECT id, name, big FROM public.item ORDER BY id')).toEqual([
      { id: '1', name: 'newer', big: null },
      { id: '2', name: 'a2', big: 'A' },
    ]);
  });

  it('set identities that are always generated, and leave them alone in updates', async () => {
    await apply([['numbered', [insert({ id: '7', name: 'a' })]]]);
    await apply([['numbered', [update({ id: '7' }, { id: '7', name: 'b' })]]]);
    expect(await rows('SELECT id, name FROM public.numbered')).toEqual([{ id: '7', name: 'b' }]);
  });

  it('give every value back as it came, by COPY and by statement', async () => {
    const row = (name: string): Cells => ({
      'Ünïq"col': name,
      at: '2024-02-29 23:59:59.999999+00',
      day: 'infinity',
      id: '00000000-0000-0000-0000-00000000000a',
      bits: '101',
      vary: '11',
      c: 'a  ',
      m: 'it\'s "bad"',
      list: '{"a,b",NULL,"c\\"d\\\\"}',
      raw: '\\x00ff',
      num: '1.50',
    });
    await apply([['odd', [insert(row('one'))]]]);
    await apply([['odd', Array.from({ length: 120 }, (_, index) => insert(row(`many ${index}`)))]]);
    const { 'Ünïq"col': name, ...key } = row('one');
    await apply([
      [
        'odd',
        [
          update(
            { 'Ünïq"col': name ?? '', at: key['at'] ?? '', day: key['day'] ?? '', id: key['id'] ?? '' },
            row('one'),
          ),
        ],
      ],
    ]);
    const found = await rows(
      `SELECT format('%s|%s|%s|%s|%s|%s|%s|%s|%s', at, day, bits, vary, c, m, list, raw, num) AS row, count(*) AS n FROM public.odd GROUP BY 1`,
    );
    expect(found).toEqual([
      {
        row: '2024-02-29 23:59:59.999999+00|infinity|101|11|a  |it\'s "bad"|{"a,b",NULL,"c\\"d\\\\"}|\\x00ff|1.50',
        n: '121',
      },
    ]);
  });
});

describe('the order of the source', () => {
  it('stands in where a swap of unique values trips the bulk form', async () => {
    await apply([['slot', [insert({ id: '1', place: '10' }), insert({ id: '2', place: '20' })]]]);
    await apply([
      [
        'slot',
        [
          update({ id: '1' }, { id: '1', place: null }),
          update({ id: '2' }, { id: '2', place: '10' }),
          update({ id: '1' }, { id: '1', place: '20' }),
        ],
      ],
    ]);
    expect(await rows('SELECT id, place FROM public.slot ORDER BY id')).toEqual([
      { id: '1', place: '20' },
      { id: '2', place: '10' },
    ]);
  });

  it('is not needed where the constraint can wait', async () => {
    await apply([['late', [insert({ id: '1', place: '10' }), insert({ id: '2', place: '20' })]]]);
    await apply([
      ['late', [update({ id: '1' }, { id: '1', place: '20' }), update({ id: '2' }, { id: '2', place: '10' })]],
    ]);
    expect(await rows('SELECT id, place FROM public.late ORDER BY id')).toEqual([
      { id: '1', place: '20' },
      { id: '2', place: '10' },
    ]);
  });

  it.each(['item', 'loose'])(
    'holds for keys that move up one after another in %s, whatever columns came',
    async (name) => {
      const column = name === 'item' ? 'big' : 'note';
      await apply([
        [name, [insert({ id: '1', name: 'a', [column]: 'A' }), insert({ id: '2', name: 'b', [column]: 'B' })]],
      ]);
      await apply([
        [
          name,
          [update({ id: '2' }, { id: '3', name: 'b' }), update({ id: '1' }, { id: '2', name: 'a', [column]: 'A2' })],
        ],
      ]);
      await apply([[name, [insert({ id: '9', name: 'c', [column]: 'C' })]]]);
      await apply([
        [
          name,
          [
            update({ id: '9' }, { id: '10', name: 'c3' }),
            update({ id: '3' }, { id: '4', [column]: 'B2' }),
            update({ id: '2' }, { id: '3', name: 'a3' }),
          ],
        ],
      ]);
      expect(await rows(`SELECT id, name, ${column} AS more FROM public.${name} ORDER BY id`)).toEqual([
        { id: '3', name: 'a3', more: 'A2' },
        { id: '4', name: 'b', more: 'B2' },
        { id: '10', name: 'c3', more: 'C' },
      ]);
    },
  );

  it('is kept where equal keys may differ in text', async () => {
    await apply([
      [
        'exact',
        [
          insert({ id: '1.0', name: 'a' }),
          update({ id: '1.0' }, { id: '1.00', name: 'b' }),
          remove({ id: '1.00' }),
          insert({ id: '1', name: 'c' }),
        ],
      ],
    ]);
    expect(await rows('SELECT id, name FROM public.exact')).toEqual([{ id: '1', name: 'c' }]);
  });

  it('is kept, step by step, where a trigger watches', async () => {
    await apply([
      [
        'watched',
        [
          insert({ id: '1', n: '1' }),
          update({ id: '1' }, { id: '1', n: '2' }),
          update({ id: '1' }, { id: '1', n: '3' }),
        ],
      ],
    ]);
    expect(await rows('SELECT what FROM public.steps ORDER BY n')).toEqual([
      { what: 'INSERT 1' },
      { what: 'UPDATE 2' },
      { what: 'UPDATE 3' },
    ]);
  });
});

describe('tables without identity', () => {
  const row: Cells = { flag: 't', code: 'a   ', net: '10.0.0.1', p: '(,)', j: '{"a": 1}', f: '0.1', t: null };

  it('lose exactly one of several equal rows', async () => {
    await apply([['heap', [insert(row), insert(row), insert(row)]]]);
    await apply([['heap', [removeWhole(row)]]]);
    expect(await rows('SELECT count(*) AS n FROM public.heap')).toEqual([{ n: '2' }]);
  });

  it('change exactly one, and tell NULL from a composite of NULLs', async () => {
    await apply([['heap', [insert(row), insert(row), insert({ ...row, p: null })]]]);
    await apply([['heap', [updateWhole(row, { ...row, t: 'changed' }), removeWhole({ ...row, p: null })]]]);
    expect(await rows(`SELECT flag, code, net, format('%s', p) AS p, t FROM public.heap ORDER BY t`)).toEqual([
      { flag: true, code: 'a   ', net: '10.0.0.1', p: '(,)', t: 'changed' },
      { flag: true, code: 'a   ', net: '10.0.0.1', p: '(,)', t: null },
    ]);
  });

  it('take many inserts in the order they came, with what stands between', async () => {
    const many = Array.from({ length: 300 }, (_, index) => insert({ ...row, t: String(index) }));
    await apply([['heap', [...many, removeWhole({ ...row, t: '7' }), insert({ ...row, t: 'last' })]]]);
    expect(await rows(`SELECT count(*) AS n, count(*) FILTER (WHERE t = '7') AS gone FROM public.heap`)).toEqual([
      { n: '300', gone: '0' },
    ]);
  });

  it('lose nothing to a delete that names no row', async () => {
    await apply([['heap', [insert(row)]]]);
    await expect(apply([['heap', [remove({})]]])).rejects.toMatchObject({ code: 'load_overlap' });
    expect(await rows('SELECT count(*) AS n FROM public.heap')).toEqual([{ n: '1' }]);
  });
});

describe('TRUNCATE', () => {
  it('cuts a transaction into what came before and after', async () => {
    const first = insert({ id: '1', name: 'before', big: null });
    const cut = next();
    await apply([['item', [first, insert({ id: '1', name: 'after', big: null })]]], [truncation(cut, ['item'])]);
    expect(await rows('SELECT name FROM public.item')).toEqual([{ name: 'after' }]);
  });

  it('empties tables that refer to each other by one statement', async () => {
    await apply([
      ['parent', [insert({ id: '1' })]],
      ['child', [insert({ id: '1', parent: '1' })]],
    ]);
    await apply([], [truncation(next(), ['parent', 'child'])]);
    expect(
      await rows('SELECT (SELECT count(*) FROM public.parent) + (SELECT count(*) FROM public.child) AS n'),
    ).toEqual([{ n: '0' }]);
  });

  it('never reaches a table that the source did not name', async () => {
    await apply([
      ['parent', [insert({ id: '1' })]],
      ['child', [insert({ id: '1', parent: '1' })]],
    ]);
    await expect(apply([], [truncation(next(), ['parent'])])).rejects.toMatchObject({
      code: 'target_constraint',
      where: 'public.parent',
    });
    await apply([], [truncation(next(), ['parent'], true)]);
    expect(
      await rows(
        'SELECT (SELECT count(*) FROM public.parent) AS parents, (SELECT count(*) FROM public.child) AS children',
      ),
    ).toEqual([{ parents: '0', children: '1' }]);
  });
});

describe('a target that differs', () => {
  it.each(['load_overlap', 'target_drift'] as const)(
    'stops with %s, naming table and key, and keeps nothing of the part',
    async (code) => {
      await apply([['item', [insert({ id: '1', name: 'a', big: null }), insert({ id: '2', name: 'a', big: null })]]]);
      const part = apply(
        [['item', [update({ id: '1' }, { id: '1', name: 'b' }), update({ id: '9' }, { id: '9', name: 'b' })]]],
        [],
        code,
      );
      await expect(part).rejects.toMatchObject({ code, where: expect.stringMatching(/public\.item.*id=9/) });
      expect(await rows('SELECT DISTINCT name FROM public.item')).toEqual([{ name: 'a' }]);
    },
  );

  it('stops at a delete of a row that is gone', async () => {
    await apply([['item', [insert({ id: '1', name: 'a', big: null })]]]);
    await expect(
      apply([['item', [remove({ id: '1' }), remove({ id: '5' })]]], [], 'target_drift'),
    ).rejects.toMatchObject({
      code: 'target_drift',
      where: expect.stringContaining('id=5'),
    });
  });

  it('stops at a key that stands twice where no index forbids it', async () => {
    await client.query('INSERT INTO public.loose VALUES (1), (1)');
    await expect(
      apply([['loose', [update({ id: '1' }, { id: '1', name: 'b' })]]], [], 'target_drift'),
    ).rejects.toMatchObject({ code: 'target_drift' });
  });

  it('names the table, constraint and key of a row that the target refuses', async () => {
    await expect(
      apply([['checked', [insert({ id: '1', n: '1' }), insert({ id: '2', n: '-5' })]]]),
    ).rejects.toMatchObject({
      code: 'target_constraint',
      where: expect.stringMatching(/checked_n_check.*public\.checked.*id=2/),
    });
  });
});

function apply(
  changes: readonly (readonly [string, readonly RowChange[]])[],
  cuts: readonly Cut[] = [],
  mismatch: ErrorCode = 'load_overlap',
): Promise<void> {
  return applyInTransaction(client, tableNamed, changes, { cuts, mismatch });
}

function tableNamed(name: string): TargetTable {
  const table = tables.get(name);
  if (table === undefined) throw new Error(`the test has no table ${name}`);
  return table;
}

function truncation(position: Position, names: readonly string[], isPartial = false): Cut {
  return { kind: 'truncate', position, tables: names.map(tableNamed), isPartial };
}

async function rows(sql: string): Promise<unknown[]> {
  return (await client.query<Record<string, unknown>>(sql)).rows.map((row) =>
    Object.fromEntries(
      Object.entries(row).map(([name, value]) => [name, typeof value === 'number' ? String(value) : value]),
    ),
  );
}
