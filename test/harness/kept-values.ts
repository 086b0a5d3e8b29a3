import type pg from 'pg';
import { quoteIdentifier } from '#core/table-name.ts';

/** Columns as `table.column` that are left out of a comparison. */
export type LeftOut = ReadonlySet<string>;

/** What differs between two databases in these tables of schema public, one line each; empty when they are equal. */
export async function differingValues(
  source: pg.Client,
  target: pg.Client,
  tables: readonly string[],
  leftOut: LeftOut,
): Promise<string[]> {
  const lines: string[] = [];
  for (const table of tables) {
    const columns = (await columnsOf(source, table)).filter((column) => !leftOut.has(`${table}.${column}`));
    const [theirs, ours] = [await rowsOf(source, table, columns), await rowsOf(target, table, columns)];
    if (theirs.length !== ours.length) lines.push(`${table}: ${theirs.length} rows became ${ours.length}`);
    const unequal = columns.filter((_, at) => theirs.some((row, index) => row[at] !== ours[index]?.[at]));
    for (const column of unequal) {
      const at = columns.indexOf(column);
      const index = theirs.findIndex((row, one) => row[at] !== ours[one]?.[at]);
      lines.push(`${table}.${column}: ${short(theirs[index]?.[at])} became ${short(ours[index]?.[at])}`);
    }
  }
  return lines;
}

async function columnsOf(client: pg.Client, table: string): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT attname::text AS name FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
    [`public.${quoteIdentifier(table)}`],
  );
  return rows.map(({ name }) => name);
}

/** Every row's values as text, rows in the order of their first columns. */
async function rowsOf(client: pg.Client, table: string, columns: readonly string[]): Promise<(string | null)[][]> {
  const list = columns.map((column) => `${quoteIdentifier(column)}::text`).join(', ');
  const order = columns.map((_, at) => `r[${at + 1}] COLLATE "C"`).join(', ');
  const { rows } = await client.query<{ r: (string | null)[] }>(
    `SELECT r FROM (SELECT ARRAY[${list}]::text[] AS r FROM public.${quoteIdentifier(table)}) AS x ORDER BY ${order}`,
  );
  return rows.map(({ r }) => r);
}

function short(value: string | null | undefined): string {
  return value === undefined ? 'no row' : value === null ? 'NULL' : JSON.stringify(value.slice(0, 80));
}
