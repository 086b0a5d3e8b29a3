import type pg from 'pg';
import { quoteTable, type TableName } from '#core/table-name.ts';

/** The role may not truncate, or another table refers to this one. */
const NOT_BY_TRUNCATE: ReadonlySet<string> = new Set(['42501', '0A000']);

/** Removes every row of a table, by TRUNCATE where that is allowed; in the caller's transaction. */
export async function emptyTable(client: pg.ClientBase, table: TableName): Promise<void> {
  await client.query('SAVEPOINT empty_table');
  try {
    await client.query(`TRUNCATE ${quoteTable(table)}`);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && NOT_BY_TRUNCATE.has(String(error.code)))) throw error;
    await client.query('ROLLBACK TO SAVEPOINT empty_table');
    await client.query(`DELETE FROM ${quoteTable(table)}`);
  }
  await client.query('RELEASE SAVEPOINT empty_table');
}
