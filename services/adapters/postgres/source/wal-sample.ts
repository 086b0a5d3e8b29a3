import type pg from 'pg';
import { parseLsn } from '#core/lsn.ts';
import type { WalSample } from '#core/wal-budget.ts';

const SQL = `
  SELECT now.lsn::text AS written, wal_status, safe_wal_size::text AS safe,
         coalesce(pg_wal_lsn_diff(now.lsn, restart_lsn), 0)::text AS retained
    FROM pg_replication_slots,
         (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn) now
   WHERE slot_name = $1`;

/** What the slot keeps now; null where there is none. */
export async function readWalSample(client: pg.ClientBase, slot: string, at: number): Promise<WalSample | null> {
  const [row] = (
    await client.query<{ written: string; wal_status: string | null; safe: string | null; retained: string }>(SQL, [
      slot,
    ])
  ).rows;
  if (row === undefined) return null;
  return {
    at,
    written: parseLsn(row.written),
    retainedBytes: Number(row.retained),
    safeBytes: row.safe === null ? null : Number(row.safe),
    walStatus: row.wal_status,
  };
}
