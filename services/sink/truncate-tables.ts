import type pg from 'pg';
import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import { sqlStateOf } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import { formatTable } from '#core/table-name.ts';
import { rankOf, type TableRanks } from './segment-apply.ts';

const REFERENCED = '0A000';

/**
 * Tables truncated by one statement are truncated by one statement; those that a CASCADE reached at the source are among them, and no
 * others are reached here (PostgreSQL: "Logical Replication", Restrictions). Sequences are not data of the stream.
 */
export async function truncateTables(
  client: pg.ClientBase,
  tables: readonly TargetTable[],
  isPartial: boolean,
  ranks: TableRanks | null,
): Promise<void> {
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
