import type pg from 'pg';
import { sqlStateOf } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import { formatTable, quoteIdentifier } from '#core/table-name.ts';
import type { Truncated } from './epoch-apply.ts';
import { rankOf, type TableRanks } from './segment-apply.ts';

const REFERENCED = '0A000';

/**
 * Tables truncated by one statement are truncated by one statement; those that a CASCADE reached at the source are among them, and no
 * others are reached here (PostgreSQL: "Logical Replication", Restrictions). Sequences are not data of the stream.
 */
export async function truncateTables(
  client: pg.ClientBase,
  { tables, isPartial, only }: Truncated,
  ranks: TableRanks | null,
): Promise<void> {
  if (only !== undefined) {
    const column = `pg_catalog.format('%s', ${quoteIdentifier(only.column)})`;
    for (const table of tables) await client.query(`DELETE FROM ${table.only} WHERE ${column} = $1`, [only.value]);
    return;
  }
  if (isPartial) {
    for (const table of tables.toSorted((a, b) => rankOf(b, ranks) - rankOf(a, ranks)))
      await client.query(`DELETE FROM ${table.only}`);
    return;
  }
  if (tables.length === 0) return;
  try {
    await client.query(`TRUNCATE ${tables.map((table) => table.only).join(', ')}`);
  } catch (error) {
    if (sqlStateOf(error) !== REFERENCED) throw error;
    throw new RestageError('target_constraint', 'the source truncated tables that others of the target refer to', {
      cause: error,
      where: tables.map((table) => formatTable(table.structure)).join(', '),
      fix: 'drop the foreign keys that refer to them from tables outside this pipeline, or empty those tables by hand',
    });
  }
}
