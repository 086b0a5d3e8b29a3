import type pg from 'pg';

/** The extended protocol takes one statement only, so it stays one whatever the source's words in it say (PostgreSQL: "Extended Query"). */
export async function runSingle(client: pg.ClientBase, text: string): Promise<void> {
  const statement: pg.QueryConfig & { queryMode: 'extended' } = { text, queryMode: 'extended' };
  await client.query(statement);
}
