import type pg from 'pg';
import { connectPg } from '#adapters/postgres/session.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { readSetting, type CheckContext } from './check-context.ts';
import { listSome, type Check, type Finding } from './finding.ts';
import { judgeStandby } from './judge-servers.ts';
import { judgeWalRate } from './wal-rate.ts';

const MEBIBYTE = 1024 * 1024;
const SHORTEST_TIMEOUT_MS = 10_000;

/** What the source is beside a server that can decode: one server, its other readers, and what may cost us the slot. */
export const SOURCE_HEALTH_CHECKS: readonly Check[] = [
  { id: 'source.one_server', severity: 'block', run: checkOneServer },
  { id: 'source.standby', severity: 'block', run: checkStandby },
  { id: 'source.failover', severity: 'warn', run: checkFailover },
  { id: 'source.idle_slot_timeout', severity: 'warn', run: checkIdleTimeout },
  { id: 'source.sender_timeout', severity: 'warn', run: checkSenderTimeout },
  { id: 'source.decoding_memory', severity: 'info', run: checkDecoding },
  { id: 'source.wal_rate', severity: 'info', run: checkWalRate },
  { id: 'source.other_slots', severity: 'warn', run: checkOtherSlots },
  { id: 'source.subscriptions', severity: 'warn', run: checkSubscriptions },
];

/** A snapshot exported by one session is there for another of the same server only; and a pooler's sessions forget what was set. */
async function checkOneServer({ config, source }: CheckContext): Promise<Finding[]> {
  const other = await connectPg({
    url: config.source.url,
    purpose: 'source',
    application: `restage ${config.name} check`,
  });
  try {
    await source.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    const [exported] = (await source.query<{ id: string }>('SELECT pg_export_snapshot() AS id')).rows;
    await other.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    // The id is the server's own word, and a SET takes no parameters.
    await other.query(`SET TRANSACTION SNAPSHOT '${(exported?.id ?? '').replaceAll(/[^0-9A-F-]/g, '')}'`);
    return [];
  } catch (error) {
    return [
      {
        what: "one session's snapshot is not there for another: the url leads to several servers, or to a pooler",
        evidence: error instanceof Error ? error.message : String(error),
        fix: "name the server itself in the source's url",
      },
    ];
  } finally {
    await source.query('ROLLBACK');
    await other.end();
  }
}

async function checkStandby({ source, sourceMajor }: CheckContext): Promise<Finding[]> {
  const [row] = (await source.query<{ standby: boolean }>('SELECT pg_is_in_recovery() AS standby')).rows;
  if (row?.standby !== true) return [];
  return judgeStandby(sourceMajor, await readSetting(source, 'hot_standby_feedback'));
}

async function checkFailover({ source, sourceMajor, config }: CheckContext): Promise<Finding[]> {
  // A logical reader's walsender has a slot of a plugin; a stand-by's has none, or a physical one. Others only begin, or copy files once.
  const standbys = await source.query<{ name: string }>(
    `SELECT DISTINCT r.application_name AS name FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
      WHERE s.slot_type IS DISTINCT FROM 'logical' AND coalesce(r.state NOT IN ('startup', 'backup'), true) ORDER BY 1`,
  );
  const names = standbys.rows.map((row) => row.name).filter((name) => !name.startsWith('restage '));
  if (names.length === 0) return [];
  return [
    {
      what: 'after a failover the slot is gone, and every table is loaded again',
      evidence: `stand-bys: ${listSome(names)}`,
      fix:
        sourceMajor >= 17
          ? 'plan for a new load after a failover: the slot is not one that stand-bys keep (failover = false)'
          : `let the cluster's manager keep the slot ${config.source.slot} (Patroni: slots), or plan for a new load`,
    },
  ];
}

async function checkIdleTimeout({ source }: CheckContext): Promise<Finding[]> {
  const timeout = await readSetting(source, 'idle_replication_slot_timeout');
  return timeout === '' || timeout === '0'
    ? []
    : [
        {
          what: 'a pipeline that stands longer than this loses its slot',
          evidence: `idle_replication_slot_timeout = ${timeout}`,
          fix: 'ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf(); -- or see that no stop is that long',
        },
      ];
}

async function checkSenderTimeout({ source }: CheckContext): Promise<Finding[]> {
  const ms = await settingIn(source, 'wal_sender_timeout');
  if (ms === 0)
    return [
      {
        severity: 'info',
        what: 'a connection that dies without a word holds the slot until TCP notices',
        evidence: 'wal_sender_timeout = 0',
        fix: "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();",
      },
    ];
  return ms >= SHORTEST_TIMEOUT_MS
    ? []
    : [
        {
          what: 'a busy reader is cut off after a pause this short, and begins again',
          evidence: `wal_sender_timeout = ${ms} ms`,
          fix: "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();",
        },
      ];
}

/** What transactions cost that are larger than the memory for decoding: the server writes them to disk and reads them again. */
async function checkDecoding({ source }: CheckContext): Promise<Finding[]> {
  const [row] = (
    await source.query<{ txns: string; bytes: string }>(
      'SELECT coalesce(sum(spill_txns), 0)::text AS txns, coalesce(sum(spill_bytes), 0)::text AS bytes FROM pg_stat_replication_slots',
    )
  ).rows;
  if (row === undefined || row.txns === '0') return [];
  const memory = await readSetting(source, 'logical_decoding_work_mem');
  return [
    {
      what: 'decoding has written large transactions to the disk of the source',
      evidence: `${row.txns} transactions, ${Math.round(Number(row.bytes) / MEBIBYTE)} MiB since the figures were reset; logical_decoding_work_mem = ${memory}`,
      fix: "ALTER SYSTEM SET logical_decoding_work_mem = '256MB'; SELECT pg_reload_conf(); -- for each slot that decodes",
    },
  ];
}

/** The mean since the server's figures were reset: peaks are higher. */
async function checkWalRate({ source, config }: CheckContext): Promise<Finding[]> {
  const [row] = (
    await source.query<{ bytes: string; seconds: string }>(
      'SELECT wal_bytes::text AS bytes, extract(epoch FROM clock_timestamp() - stats_reset)::text AS seconds FROM pg_stat_wal',
    )
  ).rows;
  return row === undefined
    ? []
    : judgeWalRate({ bytes: Number(row.bytes), seconds: Number(row.seconds) }, config.source.walBudget.bytes);
}

async function checkOtherSlots({ source, config }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<{ name: string; kept: string }>(
    `SELECT slot_name AS name, pg_size_pretty(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)) AS kept
       FROM pg_replication_slots WHERE NOT active AND slot_name <> $1 AND restart_lsn IS NOT NULL ORDER BY restart_lsn`,
    [config.source.slot],
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'slots that nobody reads keep WAL on the disk of the source',
          evidence: listSome(rows.map((row) => `${row.name} keeps ${row.kept}`)),
          fix: rows
            .map(
              (row) =>
                `SELECT pg_drop_replication_slot('${row.name.replaceAll("'", "''")}'); -- if nobody comes back for it`,
            )
            .join('\n'),
        },
      ];
}

async function checkSubscriptions({ source }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<{ name: string }>(
    // Not by its worker, which is not there for a moment after each failure.
    `SELECT subname AS name FROM pg_subscription WHERE subenabled AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1`,
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'the source gets rows by subscriptions too: they are captured as its own, and go on coming to it after the switch',
          evidence: listSome(rows.map((row) => row.name)),
          fix: rows
            .map((row) => `ALTER SUBSCRIPTION ${quoteIdentifier(row.name)} DISABLE; -- at the switch`)
            .join('\n'),
        },
      ];
}

/** A setting of a length of time, in milliseconds (PostgreSQL: "pg_settings"). */
async function settingIn(client: pg.ClientBase, name: string): Promise<number> {
  const [row] = (
    await client.query<{ setting: string; unit: string | null }>(
      'SELECT setting, unit FROM pg_settings WHERE name = $1',
      [name],
    )
  ).rows;
  return Number(row?.setting ?? 0) * (row?.unit === 's' ? 1_000 : 1);
}
