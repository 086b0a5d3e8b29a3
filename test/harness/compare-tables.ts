import type pg from 'pg';
import { connectPg } from '#adapters/postgres/session.ts';
import { formatTable, quoteIdentifier, quoteTable, tableKey, type TableName } from '#core/table-name.ts';

interface ComparedTable extends TableName {
  readonly partitioned: boolean;
  readonly columns: string[];
}

/** How a table and its columns are called at the target. */
export interface Renaming {
  readonly table: TableName;
  readonly columns: ReadonlyMap<string, string>;
}

interface HashedRow {
  readonly md5: string;
  readonly columns: string[];
  readonly texts: (string | null)[];
}

const TABLES_SQL = `
  SELECT n.nspname AS schema, c.relname AS table, false AS partitioned,
         ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'restage')
   ORDER BY 1, 2`;
const SHOWN_TABLES = 10;
const SHOWN_CHARACTERS = 70;

/**
 * Every ordinary table of the source with the target's, row by row, by the hash of the row's text under the pinned settings.
 * One line for each table that differs, with the columns and an example; empty when all are equal.
 */
export async function findDifferences(
  sourceUrl: string,
  targetUrl: string,
  renamings: readonly Renaming[] = [],
): Promise<string[]> {
  const source = await connectPg({ url: sourceUrl, purpose: 'source', application: 'restage test' });
  const target = await connectPg({ url: targetUrl, purpose: 'target', application: 'restage test' });
  try {
    const lines: string[] = [];
    for (const table of (await source.query<ComparedTable>(TABLES_SQL)).rows) {
      const renaming = renamings.find((one) => tableKey(one.table) === tableKey(table));
      const line = await compareTable(source, target, table, renaming?.columns ?? new Map<string, string>());
      if (line !== null) lines.push(line);
    }
    return lines.slice(0, SHOWN_TABLES);
  } finally {
    await Promise.all([source.end(), target.end()]);
  }
}

async function compareTable(
  source: pg.Client,
  target: pg.Client,
  table: ComparedTable,
  renamed: ReadonlyMap<string, string>,
): Promise<string | null> {
  try {
    const names = table.columns.map((name) => renamed.get(name) ?? name);
    const [left, right] = subtract(await readRows(source, table, table.columns), await readRows(target, table, names));
    if (left.length === 0 && right.length === 0) return null;
    return `${formatTable(table)}: ${left.length} rows only in the source, ${right.length} only in the target${describe(left, right, table.columns)}`;
  } catch (error) {
    return `${formatTable(table)}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

async function readRows(client: pg.Client, table: TableName, columns: readonly string[]): Promise<HashedRow[]> {
  const names = columns.map(quoteIdentifier);
  const { rows } = await client.query<HashedRow>(
    `SELECT md5(ROW(${names.join(', ')})::text) AS md5,
            ARRAY[${names.map((name) => `md5(ROW(${name})::text)`).join(', ')}]::text[] AS columns,
            ARRAY[${names.map((name) => `left(ROW(${name})::text, ${SHOWN_CHARACTERS})`).join(', ')}]::text[] AS texts
       FROM ONLY ${quoteTable(table)}`,
  );
  return rows;
}

/** Rows that one side has more often than the other. */
function subtract(from: readonly HashedRow[], to: readonly HashedRow[]): [HashedRow[], HashedRow[]] {
  const right = new Map<string, HashedRow[]>();
  for (const row of to) right.set(row.md5, [...(right.get(row.md5) ?? []), row]);
  const left = from.filter((row) => right.get(row.md5)?.pop() === undefined);
  return [left, [...right.values()].flat()];
}

/** The columns in which the first unequal row differs from the most similar one of the other side. */
function describe(left: readonly HashedRow[], right: readonly HashedRow[], columns: readonly string[]): string {
  const [row] = left;
  if (row === undefined) return `; target's ${preview(right[0], columns)}`;
  const differing = (other: HashedRow): number[] =>
    columns.flatMap((_, index) => (row.columns[index] === other.columns[index] ? [] : [index]));
  const nearest = right.toSorted((a, b) => differing(a).length - differing(b).length)[0];
  if (nearest === undefined) return `; source's ${preview(row, columns)}`;
  return differing(nearest)
    .slice(0, 6)
    .map((index) => `; column ${JSON.stringify(columns[index])}: ${row.texts[index]} became ${nearest.texts[index]}`)
    .join('');
}

function preview(row: HashedRow | undefined, columns: readonly string[]): string {
  return columns
    .slice(0, 6)
    .map((name, index) => `${JSON.stringify(name)}=${row?.texts[index] ?? ''}`)
    .join(', ');
}
