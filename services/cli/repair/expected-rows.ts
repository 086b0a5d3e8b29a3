import type pg from 'pg';
import { ExpectedRows, type ExpectedOptions } from '../verify/expected-rows.ts';
import { openSourceLookUps } from '../verify/source-look-ups.ts';
import type { ShapedTable } from '../verify/shaped-table.ts';
import type { TablePair } from '../verify/table-pair.ts';
import { isSameFile, type TableSide } from '../verify/table-side.ts';
import { lookUpSql, outputTexts } from '../verify/table-sql.ts';
import type { SuspectKey } from '../verify/row-cursor.ts';

/** The compared columns' texts, as their types print them. */
export type RowTexts = readonly (string | null)[];

const ROWS_A_BATCH = 500;
const NO_POSITION = 'SELECT NULL::pg_lsn';
const REWRITTEN = 'the source table was truncated or rewritten meanwhile: run it again';

/**
 * What rows with these keys are to be at the target, from the source's snapshot and the rules; null: not there. Or why nobody can say.
 * A table whose rows are computed is read whole, for a key does not tell which rows it is made of.
 */
export async function readExpected(
  table: TablePair | ShapedTable,
  keys: readonly SuspectKey[],
  options: ExpectedOptions,
): Promise<(RowTexts | null)[] | string> {
  if ('sources' in table) return computeRows(table, keys, options);
  if (!(await isSameFile(options.source, table.source.oid))) return REWRITTEN;
  return lookUp(options.source, table.source, keys, table.filter);
}

/** What the target has of them, as the session sees it. */
export function readFound(
  client: pg.ClientBase,
  { target }: TablePair | ShapedTable,
  keys: readonly SuspectKey[],
): Promise<(RowTexts | null)[]> {
  return lookUp(client, target, keys, null);
}

async function lookUp(
  client: pg.ClientBase,
  side: TableSide,
  keys: readonly SuspectKey[],
  filter: TablePair['filter'],
): Promise<(RowTexts | null)[]> {
  const found: (RowTexts | null)[] = keys.map(() => null);
  const sql = lookUpSql(side, filter, NO_POSITION, outputTexts(side, 't.'));
  for (let at = 0; at < keys.length; at += ROWS_A_BATCH) {
    const batch = keys.slice(at, at + ROWS_A_BATCH);
    const { rows } = await client.query<{
      n: number;
      xmin: string | null;
      hashes: (string | null)[];
      filter: (string | null)[] | null;
    }>(
      sql,
      side.key.map((_, column) => batch.map((key) => key[column] ?? '')),
    );
    for (const row of rows)
      if (row.xmin !== null && (filter === null || filter.passes(row.filter ?? []))) found[at + row.n - 1] = row.hashes;
  }
  return found;
}

async function computeRows(
  table: ShapedTable,
  keys: readonly SuspectKey[],
  options: ExpectedOptions,
): Promise<(RowTexts | null)[] | string> {
  await using lookUps = await openSourceLookUps(table.lookedUp, options.source, options.signal);
  const expected = new ExpectedRows(table, options, lookUps.read);
  const { side } = expected;
  const texts = side.key.map(({ sql }) => `${sql}::text`);
  const first = side.columns.length + 1;
  const arrays = texts.map((_, index) => `$${first + index}::text[]`).join(', ');
  const sql = `SELECT ARRAY[${texts.join(', ')}] AS key, ${outputTexts(side, '')} AS texts FROM ${side.sql}
                WHERE (${texts.join(', ')}) IN (SELECT * FROM unnest(${arrays}) AS wanted)`;
  const places = new Map(keys.map((key, index) => [JSON.stringify(key), index]));
  const rows: (RowTexts | null)[] = keys.map(() => null);
  await expected.each(
    sql,
    texts.map((_, column) => keys.map((key) => key[column] ?? '')),
    (row) => {
      const { key, texts: found } = row as { key: string[]; texts: RowTexts };
      const place = places.get(JSON.stringify(key));
      if (place !== undefined) rows[place] = found;
    },
  );
  for (const { found } of table.sources) if (!(await isSameFile(options.source, found.oid))) return REWRITTEN;
  const failed = expected.failures.length + expected.failuresLeft;
  // A row that no rule gives because it failed is not one that is to go.
  return failed === 0 ? rows : `a rule fails for ${failed} rows of the source: restage verify names them`;
}
