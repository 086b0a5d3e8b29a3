import type pg from 'pg';

const REFUSED = '42501';

/**
 * Triggers and foreign keys of the target do not act in a replica session: what they did came with the stream. False where the role
 * may not have one (PostgreSQL: "session_replication_role"); takeAway is for that case.
 */
export async function actAsReplica(client: pg.ClientBase): Promise<boolean> {
  try {
    await client.query('SET session_replication_role = replica');
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === REFUSED) return false;
    throw error;
  }
}

/** Whether `actAsReplica` would be let, asked in a transaction of its own, which leaves the session as it was. */
export async function mayActAsReplica(client: pg.ClientBase): Promise<boolean> {
  await client.query('BEGIN');
  try {
    return await actAsReplica(client);
  } finally {
    await client.query('ROLLBACK');
  }
}

/**
 * Ends sessions that a holder before this one left behind: same application name, role and database. A transaction of theirs would
 * keep the checkpoint row locked. Sessions that hold a lease are left alone. Returns how many it ended.
 */
export async function endStaleSessions(client: pg.ClientBase): Promise<number> {
  const { rowCount } = await client.query(
    `SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
      WHERE a.application_name = current_setting('application_name') AND a.usename = current_user AND a.datname = current_database()
        AND a.pid <> pg_backend_pid() AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory')`,
  );
  return rowCount ?? 0;
}
