import { MAY_REPLICATE } from '#adapters/postgres/replication-right.ts';
import { findPublicationGaps, publicationSql } from '#adapters/postgres/source/publication.ts';
import { DDL_TRIGGER_SQL, readDdlTrigger } from '#adapters/postgres/source/ddl-trigger.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteIdentifier, type TableName } from '#core/table-name.ts';
import { readSetting, type CheckContext } from './check-context.ts';
import { listSome, type Check, type Finding } from './finding.ts';
import { judgeTransactions, type OpenTransaction } from './judge-servers.ts';
import { probeReplication } from './replication-probe.ts';
import { checkSlot } from './slot-check.ts';

const SLOTS_NEEDED = 2;

/** The server that changes are captured from: can it decode, may we, and will it last. */
export const SOURCE_CHECKS: readonly Check[] = [
  { id: 'source.wal_level', severity: 'block', run: checkWalLevel },
  { id: 'source.free_slots', severity: 'block', run: checkFreeSlots },
  { id: 'source.replication_role', severity: 'block', run: checkReplicationRole },
  { id: 'source.replication_connection', severity: 'block', run: probeReplication },
  { id: 'source.slot_name', severity: 'block', run: checkSlot },
  { id: 'source.publication', severity: 'block', run: checkPublication },
  { id: 'source.encoding', severity: 'block', run: checkEncoding },
  { id: 'source.slot_limit', severity: 'warn', run: checkSlotLimit },
  { id: 'source.long_transactions', severity: 'warn', run: checkLongTransactions },
  { id: 'source.rewrite_trigger', severity: 'info', run: checkDdlTrigger },
  { id: 'source.prepared_transactions', severity: 'block', run: checkPrepared },
];

async function checkDdlTrigger({ source, config, sourceRole }: CheckContext): Promise<Finding[]> {
  const state = await readDdlTrigger(source);
  if (state === 'there') return [];
  const mayMake = (await readSetting(source, 'is_superuser')) === 'on';
  if (state === 'none' && mayMake && config.source.ddlTrigger !== 'off')
    return [
      {
        what: 'event triggers that tell of DDL in the stream are not there yet: the producer makes them at its start',
        evidence: `${sourceRole} is a superuser, source.ddlTrigger: auto`,
        fix: 'nothing; or source.ddlTrigger: off, and docs/ddl.md says what is not noticed then',
      },
    ];
  return [
    {
      what: 'a statement that alters a table or computes its rows anew is noticed with the next change of the table alone',
      evidence: `no event trigger tells of DDL${mayMake ? '' : `, and ${sourceRole} is no superuser, who may make one`}; ALTER TABLE … ALTER COLUMN … TYPE … USING leaves nothing in the stream`,
      fix: DDL_TRIGGER_SQL,
    },
  ];
}

async function checkWalLevel({ source }: CheckContext): Promise<Finding[]> {
  const level = await readSetting(source, 'wal_level');
  return level === 'logical'
    ? []
    : [
        {
          what: 'the source cannot decode its WAL',
          evidence: `wal_level = ${level}`,
          fix: 'ALTER SYSTEM SET wal_level = logical; -- then restart the server',
        },
      ];
}

async function checkFreeSlots({ source, config }: CheckContext): Promise<Finding[]> {
  const [row] = (
    await source.query<{ slots: string; senders: string; has_ours: boolean }>(
      `SELECT (SELECT count(*) FROM pg_replication_slots)::text AS slots, (SELECT count(*) FROM pg_stat_replication)::text AS senders,
            EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1) AS has_ours`,
      [config.source.slot],
    )
  ).rows;
  const findings: Finding[] = [];
  const needed = row?.has_ours === true ? SLOTS_NEEDED - 1 : SLOTS_NEEDED;
  for (const [setting, used] of [
    ['max_replication_slots', row?.slots],
    ['max_wal_senders', row?.senders],
  ] as const) {
    const most = Number(await readSetting(source, setting));
    if (most - Number(used ?? '0') >= needed) continue;
    findings.push({
      what: `too few free ${setting}: ${needed} are needed`,
      evidence: `${used ?? '?'} of ${most} are in use`,
      fix: `ALTER SYSTEM SET ${setting} = ${Number(used ?? '0') + needed + 4}; -- then restart the server`,
    });
  }
  return findings;
}

async function checkReplicationRole({ source, sourceRole }: CheckContext): Promise<Finding[]> {
  const may = await source.query(`SELECT WHERE ${MAY_REPLICATE}`);
  if (may.rowCount === 1) return [];
  const role = quoteIdentifier(sourceRole);
  const isAmazon = (await source.query(`SELECT FROM pg_roles WHERE rolname = 'rds_replication'`)).rowCount === 1;
  return [
    {
      what: 'the role may not replicate',
      evidence: `role ${sourceRole} has no REPLICATION attribute${isAmazon ? ', and is no member of rds_replication' : ''}`,
      fix: isAmazon
        ? `GRANT rds_replication TO ${role}; -- as a member of rds_superuser`
        : `ALTER ROLE ${role} REPLICATION; -- as a superuser, or the administrator of a managed service`,
    },
  ];
}

async function checkPublication({ source, sourceMajor, config, tables }: CheckContext): Promise<Finding[]> {
  const name = config.source.publication;
  const [publication] = (
    await source.query<{ complete: boolean }>(
      'SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate AS complete FROM pg_publication WHERE pubname = $1',
      [name],
    )
  ).rows;
  if (publication === undefined)
    return missingPublication(await foreignTables({ source, tables }), name, tables, sourceMajor);
  const findings: Finding[] = (await findPublicationGaps(source, name, tables)).map((gap) => ({
    what: `the publication ${name} ${gap.what} ${gap.tables.length} chosen tables`,
    evidence: listSome(gap.tables.map(formatTable)),
    fix: gap.fix,
  }));
  if (!publication.complete) {
    findings.push({
      what: `the publication ${name} leaves out kinds of changes`,
      evidence: 'pg_publication: not all of insert, update, delete, truncate',
      fix: `ALTER PUBLICATION ${quoteIdentifier(name)} SET (publish = 'insert, update, delete, truncate');`,
    });
  }
  return findings;
}

function missingPublication(
  notOwned: readonly TableName[],
  name: string,
  tables: readonly TableStructure[],
  sourceMajor: number,
): Finding[] {
  if (notOwned.length === 0) return [];
  return [
    {
      what: `the publication ${name} is not there, and the role may not make it`,
      evidence: `not the role's own: ${listSome(notOwned.map(formatTable))}`,
      fix: `${publicationSql(name, tables, sourceMajor)}; -- as the owner of the tables`,
    },
  ];
}

/** Publishing a table is its owner's right (PostgreSQL: "CREATE PUBLICATION", Notes), and takes CREATE on the database. */
async function foreignTables({ source, tables }: Pick<CheckContext, 'source' | 'tables'>): Promise<TableName[]> {
  const { rows } = await source.query<TableName>(
    `SELECT t.schema, t.name AS table FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
      WHERE NOT pg_has_role(current_user, c.relowner, 'usage') OR NOT has_database_privilege(current_database(), 'create')`,
    [tables.map((table) => table.schema), tables.map((table) => table.table)],
  );
  return rows;
}

async function checkEncoding({ source }: CheckContext): Promise<Finding[]> {
  const encoding = await readSetting(source, 'server_encoding');
  if (encoding === 'UTF8') return [];
  const isUnknown = encoding === 'SQL_ASCII';
  return [
    {
      severity: isUnknown ? 'block' : 'info',
      what: isUnknown ? 'the source does not know its own encoding' : 'the source is converted to UTF-8',
      evidence: `server_encoding = ${encoding}`,
      fix: isUnknown
        ? 'dump the database, convert its text to UTF-8 and restore it into a database with ENCODING UTF8'
        : 'nothing',
    },
  ];
}

async function checkSlotLimit({ source }: CheckContext): Promise<Finding[]> {
  const limit = await readSetting(source, 'max_slot_wal_keep_size');
  return [
    limit === '-1'
      ? {
          what: 'a stopped pipeline lets WAL grow until the disk is full',
          evidence: 'max_slot_wal_keep_size = -1',
          fix: "ALTER SYSTEM SET max_slot_wal_keep_size = '100GB'; SELECT pg_reload_conf(); -- what the disk can spare",
        }
      : {
          severity: 'info',
          what: 'a slot further behind than this is lost, and the tables are loaded again',
          evidence: `max_slot_wal_keep_size = ${limit}`,
          fix: 'see that it exceeds the WAL of the longest stop',
        },
  ];
}

/** What a role without pg_read_all_stats may not see is not among them: `servers.sessions` says so. */
async function checkLongTransactions({ source }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<OpenTransaction>(
    `SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds, state FROM pg_stat_activity
      WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'
        AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL) ORDER BY xact_start`,
  );
  return judgeTransactions(rows);
}

async function checkPrepared({ source }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<{ gid: string; quoted: string }>(
    'SELECT gid, quote_literal(gid) AS quoted FROM pg_prepared_xacts WHERE database = current_database()',
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'prepared transactions are open: making a slot waits for them',
          evidence: listSome(rows.map((row) => row.gid)),
          fix: rows.map((row) => `COMMIT PREPARED ${row.quoted}; -- or ROLLBACK PREPARED ${row.quoted};`).join('\n'),
        },
      ];
}
