import type pg from 'pg';
import { quoteIdentifier } from '#core/table-name.ts';
import { dropEmptySchema, isEmptySchema } from '../restage-schema.ts';
import { removeGuards } from '../migration/guard.ts';
import { LateState } from './late-state.ts';
import { dropShadow } from './shadow-table.ts';

export interface PipelineState {
  /** No other pipeline has anything in the schema. */
  readonly isOnly: boolean;
  /** Statements of the structure that the journal holds and that were not run. */
  readonly waiting: readonly string[];
  /** Dead letters that nobody has settled. */
  readonly deadLetters: number;
}

/** What schema `restage` of a target has of one pipeline; null for nothing. */
export async function findPipelineState(client: pg.ClientBase, pipeline: string): Promise<PipelineState | null> {
  const tables = await ownTables(client);
  if (tables === null) return null;
  let own = 0;
  let others = 0;
  for (const table of tables) {
    const [row] = (
      await client.query<{ own: boolean; others: boolean }>(
        `SELECT EXISTS (SELECT FROM ${table} WHERE pipeline = $1) AS own, EXISTS (SELECT FROM ${table} WHERE pipeline <> $1) AS others`,
        [pipeline],
      )
    ).rows;
    own += row?.own === true ? 1 : 0;
    others += row?.others === true ? 1 : 0;
  }
  // A crash right after it made the schema leaves that alone.
  if (own === 0 && (others > 0 || (tables.length === 0 && !(await isEmptySchema(client))))) return null;
  const waiting = tables.includes(inSchema('journal'))
    ? await client.query<{ sql: string }>(
        `SELECT detail->>'sql' || ';' AS sql FROM restage.journal
          WHERE pipeline = $1 AND finished_at IS NULL AND detail->>'sql' IS NOT NULL ORDER BY step COLLATE "C"`,
        [pipeline],
      )
    : { rows: [] };
  const letters = tables.includes(inSchema('dead_letter'))
    ? await client.query<{ n: number }>(
        `SELECT count(*)::int AS n FROM restage.dead_letter WHERE pipeline = $1 AND state = 'waiting'`,
        [pipeline],
      )
    : { rows: [] };
  return {
    isOnly: others === 0,
    waiting: waiting.rows.map(({ sql }) => sql),
    deadLetters: letters.rows[0]?.n ?? 0,
  };
}

/** Removes a pipeline's rows, and with the last pipeline's the tables and the schema, but for what others put into it; all at once. */
export async function forgetPipeline(client: pg.ClientBase, pipeline: string): Promise<void> {
  await client.query('BEGIN');
  try {
    await removeGuards(client, pipeline);
    const tables = (await ownTables(client)) ?? [];
    if (tables.includes(inSchema('late_table'))) {
      const late = await new LateState(pipeline).tables(client);
      for (const topic of late.keys()) await dropShadow(client, pipeline, topic);
    }
    for (const table of tables) await client.query(`DELETE FROM ${table} WHERE pipeline = $1`, [pipeline]);
    let isEmpty = true;
    for (const table of tables) isEmpty &&= (await client.query(`SELECT FROM ${table} LIMIT 1`)).rowCount === 0;
    if (isEmpty) {
      for (const table of tables) await client.query(`DROP TABLE ${table}`);
      await dropEmptySchema(client);
    }
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/** Tables of the schema that tell pipelines apart; null where there is no such schema. */
async function ownTables(client: pg.ClientBase): Promise<string[] | null> {
  if ((await client.query(`SELECT FROM pg_namespace WHERE nspname = 'restage'`)).rowCount === 0) return null;
  const { rows } = await client.query<{ name: string }>(
    `SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'pipeline' AND NOT a.attisdropped
      WHERE n.nspname = 'restage' AND c.relkind = 'r' ORDER BY 1`,
  );
  return rows.map(({ name }) => inSchema(name));
}

function inSchema(table: string): string {
  return `restage.${quoteIdentifier(table)}`;
}
