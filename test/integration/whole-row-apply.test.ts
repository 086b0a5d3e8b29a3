import fc from 'fast-check';
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { readTargetTable, type TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { RowChange } from '#core/change.ts';
import { applyInTransaction } from '../harness/apply-part.ts';
import { insert, removeWhole, updateWhole, type Cells } from '../harness/changes.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';

/** Values that types without equality, or with a loose one, tell apart only by their text. */
const SCHEMA_SQL = `
  CREATE COLLATION public.loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
  CREATE TABLE public.heap (j json, p point, n numeric, t text COLLATE public.loose, flag bool);
  CREATE TABLE public.cut (j json, p point, n numeric, t text COLLATE public.loose, flag bool) PARTITION BY LIST (flag);
  CREATE TABLE public.cut_yes PARTITION OF public.cut FOR VALUES IN (true);
  CREATE TABLE public.cut_no PARTITION OF public.cut DEFAULT;
`;
const ROWS: readonly Cells[] = [
  { j: '{"a":1}', p: '(1,2)', n: '1.0', t: 'a', flag: 't' },
  { j: '{"a": 1}', p: '(1,2)', n: '1.0', t: 'a', flag: 't' },
  { j: '{"a":1}', p: '(1,2)', n: '1.00', t: 'a', flag: 'f' },
  { j: '{"a":1}', p: '(1,2)', n: '1.0', t: 'A', flag: 't' },
  { j: null, p: null, n: 'NaN', t: null, flag: null },
  { j: 'null', p: null, n: null, t: '', flag: null },
];
const SEED = Number(process.env['RESTAGE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

let database: TestDatabase;
let client: pg.Client;
let tables: Map<string, TargetTable>;

beforeAll(async () => {
  database = await createDatabase(15, 'whole_rows');
  await database.client.query(SCHEMA_SQL);
  client = await connectPg({ url: database.url, purpose: 'target', application: 'restage test apply' });
  tables = new Map();
  for (const structure of await readTables(client, 'shop', { partitions: 'all' }))
    tables.set(structure.table, await readTargetTable(client, structure));
});

afterAll(async () => {
  await client.end();
  await database[Symbol.asyncDispose]();
});

beforeEach(async () => {
  await client.query('TRUNCATE public.heap, public.cut');
});

describe.each(['heap', 'cut'])('rows without identity of %s', (name) => {
  it('that are deleted go in as many copies as the source deleted', async () => {
    await apply(name, [...ROWS, ...ROWS, ...ROWS].map(insert));
    await apply(name, [...ROWS, ...ROWS.slice(0, 3)].map(removeWhole));
    expect(await texts(name)).toEqual([...ROWS, ...ROWS.slice(3)].map(toText).toSorted());
  });

  it('stop at a row that is not there, and nothing is gone', async () => {
    await apply(name, ROWS.map(insert));
    const missing = [...ROWS.slice(0, 2), ...ROWS.slice(0, 1)].map(removeWhole);
    await expect(apply(name, missing)).rejects.toMatchObject({ code: 'target_drift' });
    expect(await texts(name)).toEqual(ROWS.map(toText).toSorted());
  });

  it(`are in the end what one change after another makes of them`, async () => {
    const step = fc.record({
      kind: fc.constantFrom('insert', 'delete', 'delete', 'update', 'update'),
      row: fc.nat(),
      to: fc.nat(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        await client.query(`TRUNCATE public.${name}`);
        const rows = [...ROWS, ...ROWS];
        await apply(name, rows.map(insert));
        const changes = steps.flatMap(({ kind, row, to }): RowChange[] => {
          const next = ROWS[to % ROWS.length] ?? {};
          if (kind === 'insert' || rows.length === 0) {
            rows.push(next);
            return [insert(next)];
          }
          const [before = {}] = rows.splice(row % rows.length, 1);
          if (kind === 'delete') return [removeWhole(before)];
          // Now and then one column is not sent.
          const { j: _left, ...sent } = next;
          const after = to % 3 === 0 ? sent : next;
          rows.push({ ...before, ...after });
          return [updateWhole(before, after)];
        });
        await apply(name, changes);
        expect(await texts(name)).toEqual(rows.map(toText).toSorted());
      }),
      { seed: SEED, numRuns: 60 },
    );
  });
});

async function apply(name: string, changes: readonly RowChange[]): Promise<void> {
  const tableNamed = (wanted: string): TargetTable => {
    const table = tables.get(wanted);
    if (table === undefined) throw new Error(`no table ${wanted}`);
    return table;
  };
  await applyInTransaction(client, tableNamed, [[name, changes]], { cuts: [], mismatch: 'target_drift' });
}

async function texts(name: string): Promise<string[]> {
  const { rows } = await client.query<Cells>(
    `SELECT j::text, p::text, n::text, t, format('%s', flag) AS flag, flag IS NULL AS unset FROM public.${name}`,
  );
  return rows
    .map(({ unset, ...row }) =>
      toText({ ...row, flag: String(unset) === 't' || String(unset) === 'true' ? null : (row['flag'] ?? null) }),
    )
    .toSorted();
}

function toText({ j = null, p = null, n = null, t = null, flag = null }: Cells): string {
  return JSON.stringify([j, p, n, t, flag]);
}
