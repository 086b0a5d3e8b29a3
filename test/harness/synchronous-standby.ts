import type pg from 'pg';
import { connect } from './database.ts';
import { until } from './until.ts';

const WAITS = `SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'`;

/** A commit that is in the WAL, and invisible until the stand-by is no longer waited for. */
export async function waitingCommit(client: pg.Client, sql: string): Promise<void> {
  await client.query('SET synchronous_commit = on');
  await client.query(sql);
}

export async function untilUnseen(admin: pg.Client): Promise<void> {
  await until(async () => (await admin.query(WAITS)).rowCount === 1, { what: 'a commit to wait for the stand-by' });
}

/** Of a server that nobody else uses, and whose sessions wait for no stand-by unless they say so. An empty name: of none. */
export async function awaitStandby(url: string, name: string): Promise<void> {
  const [admin, probe] = [await connect(url), await connect(url)];
  try {
    await admin.query(`ALTER SYSTEM SET synchronous_standby_names = '${name}'`);
    await admin.query('SELECT pg_reload_conf()');
    if (name !== '') await untilAwaited(admin, probe);
  } finally {
    await Promise.all([admin.end(), probe.end()]);
  }
}

/**
 * Until a commit waits. The setting shows before: what commits look at is the checkpointer's to change (PostgreSQL:
 * SyncRepUpdateSyncStandbysDefined in src/backend/replication/syncrep.c).
 */
async function untilAwaited(admin: pg.Client, probe: pg.Client): Promise<void> {
  const { rows } = await probe.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  await probe.query('SET synchronous_commit = on');
  await until(() => isAwaited(admin, probe, rows[0]?.pid ?? 0), { what: 'commits that wait for the stand-by' });
}

async function isAwaited(admin: pg.Client, probe: pg.Client, pid: number): Promise<boolean> {
  let isOver = false;
  const commit = probe.query(`SELECT pg_logical_emit_message(true, 'probe', '')`).finally(() => (isOver = true));
  const outcome = async (): Promise<'waits' | 'over' | null> => {
    if ((await admin.query(`${WAITS} AND pid = $1`, [pid])).rowCount === 1) return 'waits';
    return isOver ? 'over' : null;
  };
  const found = await until(outcome, { what: 'a commit that waits, or is over', everyMs: 5 });
  // What waits is committed: it only waits no longer.
  if (found === 'waits') await admin.query('SELECT pg_cancel_backend($1)', [pid]);
  await commit;
  return found === 'waits';
}
