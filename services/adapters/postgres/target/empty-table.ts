import type pg from 'pg';
import { quoteTable, type TableName } from '#core/table-name.ts';

/** The role may not truncate, or another table refers to this one. */
const NOT_BY_TRUNCATE: ReadonlySet<string> = new Set(['42501', '0A000']);

/** Removes every row of a table, not of what inherits from it, by TRUNCATE where that is allowed; in the caller's transaction. */
export async function emptyTable(client: pg.ClientBase, table: TableName): Promise<void> {
  const partitioned = await client.query(
    `SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind = 'p'`,
    [table.schema, table.table],
  );
  const rows = partitioned.rowCount === 1 ? quoteTable(table) : `ONLY ${quoteTable(table)}`;
  await client.query('SAVEPOINT empty_table');
  try {
    await client.query(`TRUNCATE ${rows}`);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && NOT_BY_TRUNCATE.has(String(error.code)))) throw error;
    await client.query('ROLLBACK TO SAVEPOINT empty_table');
    await client.query(`DELETE FROM ${rows}`);
  }
  await client.query('RELEASE SAVEPOINT empty_table');
}
