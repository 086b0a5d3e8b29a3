import { connectPg } from '#adapters/postgres/session.ts';
import { quoteIdentifier, quoteTable, type TableName } from '#core/table-name.ts';

/** Of each table: enough that a stream has something to bring. */
const MOST_ROWS = 100;

/**
 * Writes a column of some rows as it is, so that there is something to drain and every value stays. A table that takes no such write (no
 * identity, a trigger that refuses) is left. The number of rows.
 */
export async function touchRows(url: string, tables: readonly TableName[]): Promise<number> {
  const client = await connectPg({ url, purpose: 'source', application: 'restage rehearse writer' });
  try {
    let touched = 0;
    for (const table of tables) {
      const { rows } = await client.query<{ name: string }>(
        `SELECT attname::text AS name FROM pg_attribute
          WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity = ''
          ORDER BY attnum DESC LIMIT 1`,
        [quoteTable(table)],
      );
      const [column] = rows;
      if (column === undefined) continue;
      const name = quoteIdentifier(column.name);
      try {
        const written = await client.query(
          `UPDATE ${quoteTable(table)} SET ${name} = ${name} WHERE ctid = ANY (ARRAY(SELECT ctid FROM ${quoteTable(table)} LIMIT ${MOST_ROWS}))`,
        );
        touched += written.rowCount ?? 0;
      } catch {
        continue;
      }
    }
    return touched;
  } finally {
    await client.end();
  }
}
