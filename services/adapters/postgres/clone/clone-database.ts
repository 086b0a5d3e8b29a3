import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { quoteIdentifier } from '#core/table-name.ts';

/** What tells a clone of ours from any other database: nothing else is ever dropped. */
const MARK = 'restage rehearsal clone';

export async function isThere(client: pg.ClientBase, name: string): Promise<boolean> {
  return (await client.query('SELECT FROM pg_database WHERE datname = $1', [name])).rowCount === 1;
}

/** CREATEDB (PostgreSQL: "CREATE ROLE"). */
export async function mayCreate(client: pg.ClientBase): Promise<boolean> {
  const sql = 'SELECT FROM pg_roles WHERE rolname = current_user AND (rolcreatedb OR rolsuper)';
  return (await client.query(sql)).rowCount === 1;
}

export const MAY_NOT_CREATE = 'the role may not make databases (CREATEDB)';

export async function markClone(client: pg.ClientBase, name: string): Promise<void> {
  await client.query(`COMMENT ON DATABASE ${quoteIdentifier(name)} IS '${MARK}'`);
}

/** With the sessions in it. @throws RestageError clone_refused where a database of that name is not a clone of ours. */
export async function dropClone(client: pg.ClientBase, name: string): Promise<void> {
  const { rows } = await client.query<{ comment: string | null }>(
    `SELECT shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = $1`,
    [name],
  );
  const [found] = rows;
  if (found === undefined) return;
  if (found.comment !== MARK)
    throw new RestageError('clone_refused', `a database is named like the clone and is none of ours`, {
      where: `database ${name}`,
      fix: `rename it, or, if it is the rest of a clone that was cut short: DROP DATABASE ${quoteIdentifier(name)};`,
    });
  await client.query(`DROP DATABASE ${quoteIdentifier(name)} WITH (FORCE)`);
}

/** The same server and role, another database. */
export function urlOf(url: string, database: string): string {
  const other = new URL(url);
  other.pathname = `/${encodeURIComponent(database)}`;
  return other.toString();
}
