import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { tableKey, quoteTable, type TableName } from '#core/table-name.ts';
import { emptyTable } from './empty-table.ts';
import { readTableRanks } from './foreign-keys.ts';
import { LateState } from './late-state.ts';
import { dropShadow } from './shadow-table.ts';
import { STATE_FORMAT } from './target-state.ts';

/** The role may not truncate, or tables that are none of these refer to them. */
const NOT_BY_TRUNCATE: ReadonlySet<string> = new Set(['42501', '0A000']);
/** What a position is made of; the journal and the archive of structures stay, for the tables do. */
const POSITION_TABLES = ['chunk_ledger', 'table_load', 'held_key', 'dead_letter', 'lane', 'spread', 'checkpoint'];

/**
 * Takes a target back to where its tables were made and nothing was applied: all rows and all of the position, in the caller's
 * transaction. Whoever applied until now has no right to from here on, for the row that names it is gone.
 */
export async function resetTarget(
  client: pg.ClientBase,
  pipeline: string,
  tables: readonly TableName[],
): Promise<void> {
  if (await isThere(client, 'checkpoint')) await lockPosition(client, pipeline);
  await emptyTables(client, tables);
  if (await isThere(client, 'late_table')) {
    const late = await new LateState(pipeline).tables(client);
    for (const topic of late.keys()) await dropShadow(client, pipeline, topic);
    await client.query('DELETE FROM restage.late_table WHERE pipeline = $1', [pipeline]);
    await client.query('DELETE FROM restage.late_load WHERE pipeline = $1', [pipeline]);
  }
  for (const table of POSITION_TABLES)
    if (await isThere(client, table))
      await client.query(`DELETE FROM restage.${table} WHERE pipeline = $1`, [pipeline]);
}

/** Also where there is none: a sink that begins meanwhile would leave half of its state to be deleted, so its row waits for this one's end. */
async function lockPosition(client: pg.ClientBase, pipeline: string): Promise<void> {
  await client.query(
    `INSERT INTO restage.checkpoint (pipeline, format, incarnation, pass, plan_offset, next_offset, epoch, through, load_done, lease_token)
     VALUES ($1, ${STATE_FORMAT}, '', 1, 0, 0, 0, '0/0', false, $2) ON CONFLICT DO NOTHING`,
    [pipeline, randomUUID()],
  );
  await client.query('SELECT FROM restage.checkpoint WHERE pipeline = $1 FOR UPDATE', [pipeline]);
}

/** Tables that refer to each other are truncated by one statement; where that is refused, one by one, what refers first. */
async function emptyTables(client: pg.ClientBase, tables: readonly TableName[]): Promise<void> {
  if (tables.length === 0) return;
  await client.query('SAVEPOINT empty_tables');
  try {
    await client.query(`TRUNCATE ${(await namesToTruncate(client, tables)).join(', ')}`);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && NOT_BY_TRUNCATE.has(String(error.code)))) throw error;
    await client.query('ROLLBACK TO SAVEPOINT empty_tables');
    const ranks = await readTableRanks(client, tables);
    const rankOf = (table: TableName): number => ranks.get(tableKey(table)) ?? 0;
    for (const table of tables.toSorted((a, b) => rankOf(b) - rankOf(a))) await emptyTable(client, table);
  }
  await client.query('RELEASE SAVEPOINT empty_tables');
}

/** A partitioned table has no rows of its own; what inherits from another kind is not the pipeline's. */
async function namesToTruncate(client: pg.ClientBase, tables: readonly TableName[]): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT t.name FROM unnest($1::text[]) AS t(name) JOIN pg_class c ON c.oid = to_regclass(t.name) WHERE c.relkind = 'p'`,
    [tables.map(quoteTable)],
  );
  const partitioned = new Set(rows.map(({ name }) => name));
  return tables.map(quoteTable).map((name) => (partitioned.has(name) ? name : `ONLY ${name}`));
}

async function isThere(client: pg.ClientBase, table: string): Promise<boolean> {
  return (await client.query('SELECT FROM pg_class WHERE oid = to_regclass($1)', [`restage.${table}`])).rowCount === 1;
}
