import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { connectPg } from '#adapters/postgres/session.ts';
import { keeperApplication } from '#core/session-names.ts';
import type { Config } from '#core/config.ts';
import { parseLsn, type Lsn } from '#core/lsn.ts';

/** What the source's own views say of this pipeline. */
export interface SourceFigures {
  /** End of WAL; on a stand-by what was replayed last. */
  readonly current: string;
  readonly slot: SlotFigures | null;
  /** The snapshot of an unfinished load, kept by a process of its own; null: there is none. */
  readonly keptSnapshot: KeptSnapshotFigures | null;
}

export interface KeptSnapshotFigures {
  /** ISO 8601: since when vacuum removes no row that was deleted later. */
  readonly since: string;
  /** Transaction numbers that the source has given since (PostgreSQL: "age"). */
  readonly xminAge: number;
}

export interface SlotFigures {
  readonly name: string;
  readonly isActive: boolean;
  readonly confirmed: string | null;
  /** WAL that the slot keeps from removal. */
  readonly retainedBytes: number;
  /** PostgreSQL: "pg_replication_slots": reserved, extended, unreserved or lost. */
  readonly walStatus: string | null;
}

const CURRENT_LSN = `CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                          ELSE pg_catalog.pg_current_wal_lsn() END`;

export async function readSourceFigures(config: Config): Promise<SourceFigures> {
  return withSource(config, async (client) => {
    const current = await client.query<{ lsn: string }>(`SELECT (${CURRENT_LSN})::text AS lsn`);
    const slot = await client.query<{
      active: boolean;
      confirmed: string | null;
      retained: string | null;
      wal_status: string | null;
    }>(
      `SELECT active, confirmed_flush_lsn::text AS confirmed, wal_status,
              pg_catalog.pg_wal_lsn_diff(${CURRENT_LSN}, restart_lsn)::text AS retained
         FROM pg_catalog.pg_replication_slots WHERE slot_name = $1`,
      [config.source.slot],
    );
    const [row] = slot.rows;
    const keptSnapshot = await readKeptSnapshot(client, keeperApplication(config.name));
    return {
      keptSnapshot,
      current: current.rows[0]?.lsn ?? '0/0',
      slot:
        row === undefined
          ? null
          : {
              name: config.source.slot,
              isActive: row.active,
              confirmed: row.confirmed,
              retainedBytes: Number(row.retained ?? 0),
              walStatus: row.wal_status,
            },
    };
  });
}

/**
 * An LSN that is past everything committed so far: that of a transactional message (PostgreSQL: "Replication Management
 * Functions"), which any role may write, also where transactions are read-only by default; on a stand-by, what it replayed last.
 */
export async function markCurrentLsn(config: Config, until?: AbortSignal): Promise<Lsn> {
  const mark = async (client: pg.Client): Promise<Lsn> => {
    const recovery = await client.query<{ lsn: string | null }>(
      'SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()::text END AS lsn',
    );
    const replayed = recovery.rows[0]?.lsn ?? null;
    if (replayed !== null) return parseLsn(replayed);
    const marked = await client.query<{ lsn: string }>(
      `SELECT pg_catalog.pg_logical_emit_message(true, 'restage', $1)::text AS lsn`,
      [`wait:${randomUUID()}`],
    );
    return parseLsn(marked.rows[0]?.lsn ?? '');
  };
  return withSource(config, mark, until);
}

async function readKeptSnapshot(client: pg.Client, application: string): Promise<KeptSnapshotFigures | null> {
  const { rows } = await client.query<{ since: string; age: number }>(
    `SELECT to_char(min(xact_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since, max(pg_catalog.age(backend_xmin)) AS age
       FROM pg_catalog.pg_stat_activity WHERE application_name = $1 AND datname = pg_catalog.current_database() AND backend_xmin IS NOT NULL HAVING count(*) > 0`,
    [application],
  );
  const [row] = rows;
  return row === undefined ? null : { since: row.since, xminAge: row.age };
}

async function withSource<T>(config: Config, work: (client: pg.Client) => Promise<T>, until?: AbortSignal): Promise<T> {
  const client = await connectPg({
    url: config.source.url,
    purpose: 'source',
    application: `restage ${config.name} cli`,
    ...(until === undefined ? {} : { until }),
  });
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
