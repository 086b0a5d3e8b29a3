import type pg from 'pg';
import { quoteIdentifier, quoteTable } from '#core/table-name.ts';
import type { TableStructure } from '#core/structure.ts';

/**
 * Tables that were just restored from the source's structure lose the columns that are not captured, and with them their indexes and
 * constraints; in the caller's transaction. What else names such a column, as a view does, makes PostgreSQL refuse.
 */
export async function dropExcluded(client: pg.ClientBase, tables: readonly TableStructure[]): Promise<void> {
  for (const table of tables) {
    const drops = (table.excluded ?? []).map((column) => `DROP COLUMN IF EXISTS ${quoteIdentifier(column)}`);
    if (drops.length > 0) await client.query(`ALTER TABLE ${quoteTable(table)} ${drops.join(', ')}`);
  }
}
