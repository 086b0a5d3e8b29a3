import type pg from 'pg';
import { pause } from '#core/backoff.ts';
import { sqlStateOf } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import { quoteIdentifier } from '#core/table-name.ts';

/** What tells a clone of ours from any other database: nothing else is ever dropped. */
const MARK = 'restage rehearsal clone';
const SLOT_ATTEMPTS = 50;
const SLOT_POLL_MS = 100;
const SESSION_END_MS = 5_000;

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
  await dropSlots(client, name);
  try {
    await client.query(`DROP DATABASE ${quoteIdentifier(name)} WITH (FORCE)`);
  } catch (error) {
    // A worker of autovacuum is nobody's, and only a superuser's to force away; without FORCE the server asks it to end.
    if (sqlStateOf(error) !== '42501') throw error;
    await client.query(
      `SELECT pg_terminate_backend(pid, ${SESSION_END_MS}) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user`,
      [name],
    );
    await client.query(`DROP DATABASE ${quoteIdentifier(name)}`);
  }
}

/** Of a rehearsed switch that was killed: FORCE ends sessions, and leaves slots, which keep a database (PostgreSQL: "DROP DATABASE"). */
async function dropSlots(client: pg.ClientBase, name: string): Promise<void> {
  for (let left = SLOT_ATTEMPTS; left > 0; left -= 1) {
    const { rows } = await client.query<{ slot: string; pid: number | null }>(
      'SELECT slot_name AS slot, active_pid AS pid FROM pg_replication_slots WHERE database = $1',
      [name],
    );
    if (rows.length === 0) return;
    for (const { slot, pid } of rows) {
      if (pid === null) await client.query('SELECT pg_drop_replication_slot($1)', [slot]);
      else await client.query('SELECT pg_terminate_backend($1)', [pid]);
    }
    await pause(SLOT_POLL_MS);
  }
}

/** The same server and role, another database. */
export function urlOf(url: string, database: string): string {
  const other = new URL(url);
  other.pathname = `/${encodeURIComponent(database)}`;
  return other.toString();
}
