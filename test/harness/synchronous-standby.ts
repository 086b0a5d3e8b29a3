import type pg from 'pg';
import { until } from './until.ts';

/** A commit that is in the WAL, and invisible until the stand-by is no longer waited for. */
export async function waitingCommit(client: pg.Client, sql: string): Promise<void> {
  await client.query('SET synchronous_commit = on');
  await client.query(sql);
}

export async function untilUnseen(admin: pg.Client): Promise<void> {
  const sql = `SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'`;
  await until(async () => (await admin.query(sql)).rowCount === 1, { what: 'a commit to wait for the stand-by' });
}

/** Of a server that nobody else uses. An empty name: of none. */
export async function awaitStandby(admin: pg.Client, name: string): Promise<void> {
  await admin.query(`ALTER SYSTEM SET synchronous_standby_names = '${name}'`);
  await admin.query('SELECT pg_reload_conf()');
  const sql = `SELECT current_setting('synchronous_standby_names') = $1 AS is_set`;
  await until(async () => (await admin.query<{ is_set: boolean }>(sql, [name])).rows[0]?.is_set, { what: 'a reload' });
}
