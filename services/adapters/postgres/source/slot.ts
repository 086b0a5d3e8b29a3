import type pg from 'pg';
import { pause } from '#core/backoff.ts';
import { RestageError } from '#core/errors.ts';
import { parseLsn, type Lsn } from '#core/lsn.ts';
import { quoteIdentifier } from '#core/table-name.ts';

/** What pg_replication_slots says of a slot. */
export interface SlotState {
  readonly plugin: string | null;
  readonly database: string | null;
  readonly confirmed: Lsn | null;
  readonly activePid: number | null;
  readonly isLost: boolean;
  /** Why, where the server says it: PostgreSQL 17 and newer. */
  readonly lostFor: string | null;
  readonly retainedBytes: number;
}

export interface CreatedSlot {
  /** Transactions that committed before it are in the snapshot, all others come by the stream. */
  readonly consistentPoint: Lsn;
  /** For SET TRANSACTION SNAPSHOT; lives until the creating connection's next command. */
  readonly snapshot: string;
}

const FAILOVER_SINCE = 170_000;
const TERMINATE_POLL_MS = 100;
const TERMINATE_LIMIT_MS = 30_000;

export async function readSlot(client: pg.ClientBase, name: string): Promise<SlotState | null> {
  const [row] = (
    await client.query<{
      plugin: string | null;
      database: string | null;
      confirmed: string | null;
      active_pid: number | null;
      wal_status: string | null;
      lost_for: string | null;
      retained: string;
    }>(
      `SELECT plugin, database, confirmed_flush_lsn::text AS confirmed, active_pid, wal_status, to_jsonb(s) ->> 'invalidation_reason' AS lost_for,
              coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
                                       restart_lsn), 0)::text AS retained
         FROM pg_replication_slots s WHERE slot_name = $1`,
      [name],
    )
  ).rows;
  if (row === undefined) return null;
  return {
    plugin: row.plugin,
    database: row.database,
    confirmed: row.confirmed === null ? null : parseLsn(row.confirmed),
    activePid: row.active_pid,
    isLost: row.wal_status === 'lost',
    lostFor: row.lost_for,
    retainedBytes: Number(row.retained),
  };
}

/**
 * Makes a logical slot with an exported snapshot on a replication connection, which must then stay idle while the snapshot
 * is in use. Waits for every transaction that runs now (PostgreSQL: "CREATE_REPLICATION_SLOT").
 * @throws RestageError slot_none_free or source_not_ready.
 */
export async function createSlot(
  replication: pg.Client,
  name: string,
  life: 'permanent' | 'temporary',
): Promise<CreatedSlot> {
  const version = await serverVersion(replication);
  const temporary = life === 'temporary' ? ' TEMPORARY' : '';
  const failover = life === 'permanent' && version >= FAILOVER_SINCE ? ', FAILOVER' : '';
  const options = version >= 150_000 ? `(SNAPSHOT 'export'${failover})` : 'EXPORT_SNAPSHOT';
  try {
    const [row] = (
      await replication.query<{ consistent_point: string; snapshot_name: string }>(
        `CREATE_REPLICATION_SLOT ${quoteIdentifier(name)}${temporary} LOGICAL pgoutput ${options}`,
      )
    ).rows;
    if (row === undefined) throw new Error('CREATE_REPLICATION_SLOT returned nothing');
    return { consistentPoint: parseLsn(row.consistent_point), snapshot: row.snapshot_name };
  } catch (cause) {
    throw slotError(name, cause);
  }
}

export async function dropSlot(client: pg.ClientBase, name: string): Promise<void> {
  await client.query('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1', [
    name,
  ]);
}

/** @throws RestageError slot_none_free when neither a slot of this name nor room for one more is there. */
export async function requireSlotRoom(client: pg.ClientBase, name: string): Promise<void> {
  const [row] = (
    await client.query<{ used: string; most: string; is_there: boolean }>(
      `SELECT count(*)::text AS used, current_setting('max_replication_slots') AS most,
              coalesce(bool_or(slot_name = $1), false) AS is_there
         FROM pg_replication_slots`,
      [name],
    )
  ).rows;
  if (row === undefined || row.is_there || Number(row.used) < Number(row.most)) return;
  throw noneFree(name, `${row.used} of max_replication_slots = ${row.most} are in use`);
}

/** @throws RestageError slot_foreign when a walsender of another program reads the slot. */
export async function requireOwnWalsender(
  client: pg.ClientBase,
  name: string,
  slot: SlotState | null,
  application: string,
): Promise<void> {
  if (slot === null || slot.activePid === null) return;
  const [holder] = (
    await client.query<{ application_name: string | null }>(
      'SELECT application_name FROM pg_stat_activity WHERE pid = $1',
      [slot.activePid],
    )
  ).rows;
  if (holder === undefined || holder.application_name === application) return;
  throw new RestageError('slot_foreign', `the replication slot ${name} is in use by another program`, {
    where: `slot ${name}, walsender ${slot.activePid}, application ${JSON.stringify(holder.application_name)}`,
    fix: 'stop that program, or give this pipeline another name or source.slot',
  });
}

/**
 * Ends a walsender that an earlier holder of the lease left on our slot, and waits until the slot is free.
 * @throws RestageError slot_foreign when it is not ours.
 */
export async function endStaleWalsender(client: pg.ClientBase, name: string, application: string): Promise<void> {
  const deadline = Date.now() + TERMINATE_LIMIT_MS;
  for (let slot = await readSlot(client, name); slot?.activePid != null; slot = await readSlot(client, name)) {
    await requireOwnWalsender(client, name, slot, application);
    if (Date.now() > deadline) {
      throw new RestageError('transient', `the walsender ${slot.activePid} of slot ${name} does not end`, {
        where: `slot ${name}`,
      });
    }
    await client.query('SELECT pg_terminate_backend($1)', [slot.activePid]);
    await pause(TERMINATE_POLL_MS);
  }
}

async function serverVersion(client: pg.Client): Promise<number> {
  const [row] = (await client.query<{ server_version_num: string }>('SHOW server_version_num')).rows;
  return Number(row?.server_version_num ?? '0');
}

function noneFree(name: string, seen: string, cause?: unknown): RestageError {
  return new RestageError('slot_none_free', 'the source has no free replication slot', {
    where: `slot ${name}: ${seen}`,
    cause,
    fix: 'drop a slot that nobody uses (SELECT * FROM pg_replication_slots), or raise max_replication_slots and restart the server',
  });
}

function slotError(name: string, cause: unknown): unknown {
  const code = cause instanceof Error && 'code' in cause ? cause.code : '';
  const message = cause instanceof Error ? cause.message : String(cause);
  if (code === '53400') return noneFree(name, 'all of max_replication_slots are in use', cause);
  if (code === '55000' && /wal_level/.test(message)) {
    return new RestageError('source_not_ready', `the source cannot decode its WAL: ${message}`, {
      cause,
      fix: 'ALTER SYSTEM SET wal_level = logical; then restart the server',
    });
  }
  if (code === '42501') {
    return new RestageError('source_not_ready', `the source's role may not make a replication slot: ${message}`, {
      cause,
      fix: 'as a superuser: ALTER ROLE <role> REPLICATION',
    });
  }
  return cause;
}
