import type pg from 'pg';
import { parseLsn, type Lsn } from '#core/lsn.ts';

export interface SourceIdentity {
  /** Names the cluster; a restored copy has the same. */
  readonly systemId: string;
  readonly timeline: number;
  readonly database: string;
  readonly position: Lsn;
}

/** IDENTIFY_SYSTEM, over a replication connection (PostgreSQL: "Streaming Replication Protocol"). */
export async function identifySource(replication: pg.Client): Promise<SourceIdentity> {
  const [row] = (
    await replication.query<{ systemid: string; timeline: number | string; xlogpos: string; dbname: string }>(
      'IDENTIFY_SYSTEM',
    )
  ).rows;
  if (row === undefined) throw new Error('IDENTIFY_SYSTEM returned nothing');
  return {
    systemId: row.systemid,
    // int4 before PostgreSQL 18, int8 since.
    timeline: Number(row.timeline),
    database: row.dbname,
    position: parseLsn(row.xlogpos),
  };
}

/** What the server would still have after a crash: a slot's stream never goes past it. On a stand-by, the last replayed position. */
export async function flushedLsn(client: pg.ClientBase): Promise<Lsn> {
  const [row] = (
    await client.query<{ lsn: string }>(
      `SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END)::text AS lsn`,
    )
  ).rows;
  return parseLsn(row?.lsn ?? '0/0');
}

/** The WAL position now: everything that has committed lies before it. On a stand-by, the last replayed one. */
export async function currentLsn(client: pg.ClientBase): Promise<Lsn> {
  const [row] = (
    await client.query<{ lsn: string }>(
      `SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END)::text AS lsn`,
    )
  ).rows;
  return parseLsn(row?.lsn ?? '0/0');
}

/**
 * Where the history of timeline `now` left timeline `then`; null where it never was on it (PostgreSQL: "Streaming Replication Protocol",
 * TIMELINE_HISTORY: a line per ancestor with its number, the LSN of the switch and a reason).
 */
export async function readSwitchPoint(replication: pg.Client, now: number, then: number): Promise<Lsn | null> {
  const [row] = (await replication.query<{ content: string | Buffer }>(`TIMELINE_HISTORY ${now}`)).rows;
  for (const line of String(row?.content ?? '').split('\n')) {
    const [, timeline, lsn] = /^\s*(\d+)\s+([0-9A-Fa-f]+\/[0-9A-Fa-f]+)/.exec(line) ?? [];
    if (timeline !== undefined && lsn !== undefined && Number(timeline) === then) return parseLsn(lsn);
  }
  return null;
}
