import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { quoteLiteral } from '#core/table-name.ts';
import { leaseKeySql } from '../advisory-lease.ts';

/** A snapshot that a keeper's session exports: any session of the database may take it while that transaction runs. */
export interface KeptSnapshot {
  /** For SET TRANSACTION SNAPSHOT. After a restart of the server another snapshot may have this name. */
  readonly name: string;
  /** SHA-256 of pg_current_snapshot() under it, in hexadecimal: what it sees, whatever its name. */
  readonly sees: string;
  /** Process number of the keeper's session at the server. */
  readonly backend: number;
}

/** PostgreSQL: "Transaction ID and Snapshot Information Functions"; a snapshot may list more transactions than a record should hold. */
export const SEES_SQL = `encode(sha256(convert_to(pg_current_snapshot()::text, 'UTF8')), 'hex')`;

/**
 * Takes a snapshot that another session exports and exports it once more, for as long as this session stays as it is: in the
 * transaction that is open then (PostgreSQL: "Snapshot Synchronization Functions"). @throws RestageError snapshot_lost.
 */
export async function keepSnapshot(client: pg.Client, name: string): Promise<KeptSnapshot> {
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  await takeSnapshot(client, name);
  const [row] = (
    await client.query<{ name: string; sees: string; backend: number }>(
      `SELECT pg_export_snapshot() AS name, ${SEES_SQL} AS sees, pg_backend_pid() AS backend`,
    )
  ).rows;
  if (row === undefined) throw new Error('pg_export_snapshot returned nothing');
  return row;
}

/** Whether a snapshot that was recorded once is still there: by its name, and as what it sees. */
export async function isStillKept(client: pg.Client, kept: KeptSnapshot): Promise<boolean> {
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  try {
    await takeSnapshot(client, kept.name);
    const [row] = (await client.query<{ sees: string }>(`SELECT ${SEES_SQL} AS sees`)).rows;
    return row?.sees === kept.sees;
  } catch (error) {
    if (error instanceof RestageError) return false;
    throw error;
  } finally {
    await client.query('ROLLBACK');
  }
}

/** In a transaction's beginning. @throws RestageError snapshot_lost when the session that exports it is gone. */
export async function takeSnapshot(client: pg.Client, name: string): Promise<void> {
  try {
    await client.query(`SET TRANSACTION SNAPSHOT ${quoteLiteral(name)}`);
  } catch (cause) {
    throw new RestageError('snapshot_lost', 'the snapshot of the initial load is gone', { cause });
  }
}

/** What a keeper lives by; asked in its own transaction, these views show the present all the same. */
export interface KeeperNeeds {
  /** A producer holds the lease. */
  readonly isLeaseHeld: boolean;
  /** Without the slot, nothing continues what the snapshot begins. */
  readonly isSlotThere: boolean;
}

export async function readKeeperNeeds(client: pg.Client, lease: string, slot: string): Promise<KeeperNeeds> {
  const [row] = (
    await client.query<{ held: boolean; there: boolean }>(
      `SELECT EXISTS (SELECT FROM pg_locks l WHERE ${leaseKeySql('l', '$1::text')}) AS held,
              EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $2) AS there`,
      [lease, slot],
    )
  ).rows;
  return { isLeaseHeld: row?.held === true, isSlotThere: row?.there === true };
}

export interface KeepersOptions {
  /** application_name of the keepers' sessions. */
  readonly application: string;
  readonly lease: string;
  /** The session that holds the lease: where it has lost it nothing is ended, for the keepers are another's then. */
  readonly leaseBackend: number;
  /** The keeper's session that stays; null: none. */
  readonly but: number | null;
}

/** Ends keepers' sessions, and so their processes. Gives how many. */
export async function endKeepers(client: pg.Client, options: KeepersOptions): Promise<number> {
  const { rowCount } = await client.query(
    `SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
      WHERE a.application_name = $1 AND a.datname = current_database() AND a.usename = session_user AND a.pid IS DISTINCT FROM $4::int
        AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = $3 AND ${leaseKeySql('l', '$2::text')})`,
    [options.application, options.lease, options.leaseBackend, options.but],
  );
  return rowCount ?? 0;
}
