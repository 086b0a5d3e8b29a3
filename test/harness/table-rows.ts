import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { TestDatabase } from './database.ts';
import { postgresBin } from './servers.ts';
import path from 'node:path';

/** Each target's rows with where and by what transaction they were written. */
export async function rowsOf({ client }: TestDatabase): Promise<string[]> {
  const rows: string[] = [];
  for (const table of await tablesOf(client)) {
    const sql = `SELECT $1 || xmin || ctid || md5(t::text) AS row FROM ONLY ${table} t ORDER BY 1`;
    rows.push(...(await client.query<{ row: string }>(sql, [table])).rows.map(({ row }) => row));
  }
  return rows;
}

/** Each table's rows as one hash, whatever the order of rows and columns. */
export async function hashesOf({ client }: TestDatabase): Promise<string[]> {
  const hashes: string[] = [];
  for (const table of await tablesOf(client)) {
    const sql = `SELECT count(*) || ' ' || md5(string_agg(to_jsonb(t)::text, '|' ORDER BY to_jsonb(t)::text COLLATE "C")) AS hash FROM ONLY ${table} t`;
    hashes.push(`${table} ${(await client.query<{ hash: string }>(sql)).rows[0]?.hash ?? ''}`);
  }
  return hashes;
}

export async function tablesOf(client: TestDatabase['client']): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`,
  );
  return rows.map((row) => row.name);
}

/** A backup of one database, restored into another. `folder`: where it may lie meanwhile. */
export async function cloneOf(from: TestDatabase, to: TestDatabase, folder: string): Promise<void> {
  const run = promisify(execFile);
  const file = path.join(folder, `${to.name}.dump`);
  await run(path.join(postgresBin(), 'pg_dump'), ['-Fc', '-f', file, '-d', from.url]);
  await run(path.join(postgresBin(), 'pg_restore'), ['-d', to.url, file]);
}
