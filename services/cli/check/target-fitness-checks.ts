import { REWRITE_PREFIX } from '#adapters/postgres/source/ddl-trigger.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { readSetting, type CheckContext, type CheckedTarget } from './check-context.ts';
import { listSome, type Check, type Finding } from './finding.ts';
import { judgeCollation, judgeConnections, type Collation } from './judge-servers.ts';
import { eachTarget } from './target-checks.ts';

const SMALLEST_WAL_MIB = 2_048;

/** Every target: does it sort as the source, keep up with the load, and belong to nobody else. */
export const TARGET_FITNESS_CHECKS: readonly Check[] = [
  { id: 'target.collation', severity: 'warn', run: eachTarget(checkCollation) },
  { id: 'target.event_triggers', severity: 'warn', run: eachTarget(checkEventTriggers) },
  { id: 'target.clients', severity: 'warn', run: eachTarget(checkClients) },
  { id: 'target.connections', severity: 'block', run: eachTarget(checkConnections) },
  { id: 'target.settings', severity: 'warn', run: eachTarget(checkSettings) },
  { id: 'target.roles', severity: 'warn', run: eachTarget(checkRoles) },
  { id: 'target.database_settings', severity: 'info', run: eachTarget(checkDatabaseSettings) },
];

/** By way of JSON: the columns came with versions 15 to 17. `actual` is what the server's library is now. */
const COLLATION = `SELECT d.datcollate AS collate, d.datctype AS ctype, coalesce(to_jsonb(d)->>'datlocprovider', 'c') AS provider,
    coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale', '') AS locale, coalesce(to_jsonb(d)->>'datcollversion', '') AS version
  FROM pg_database d WHERE d.datname = current_database()`;

async function checkCollation({ client }: CheckedTarget, { source }: CheckContext): Promise<Finding[]> {
  const [ours] = (await source.query<Collation>(COLLATION)).rows;
  const [theirs] = (await client.query<Collation>(COLLATION)).rows;
  return ours === undefined || theirs === undefined ? [] : judgeCollation(theirs, ours);
}

/** But for those of extensions, and what a pipeline that reads the target made there. */
async function checkEventTriggers({ client }: CheckedTarget): Promise<Finding[]> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT evtname AS name FROM pg_event_trigger JOIN pg_proc p ON p.oid = evtfoid WHERE evtenabled <> 'D' AND p.prosrc NOT LIKE '%' || $1 || '%'
       AND NOT EXISTS (SELECT FROM pg_depend d
         WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = pg_event_trigger.oid AND d.deptype = 'e') ORDER BY 1`,
    [REWRITE_PREFIX],
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'event triggers at the target see the tables that are made and altered there',
          evidence: listSome(rows.map((row) => row.name)),
          fix: rows.map((row) => `ALTER EVENT TRIGGER ${quoteIdentifier(row.name)} DISABLE;`).join('\n'),
        },
      ];
}

/** Whoever else writes makes the target differ (target_drift). */
async function checkClients({ client }: CheckedTarget): Promise<Finding[]> {
  const { rows } = await client.query<{ who: string }>(
    `SELECT DISTINCT concat_ws(' ', usename, nullif('(' || application_name || ')', '()')) AS who FROM pg_stat_activity
      WHERE datname = current_database() AND coalesce(backend_type = 'client backend', usesysid IS NOT NULL) AND pid <> pg_backend_pid()
        AND application_name !~ '^restage ' ORDER BY 1`,
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'others are connected to the target: what they write there makes it differ, and stops the sink',
          evidence: listSome(rows.map((row) => row.who)),
          fix: 'let nobody but Restage write there before the switch',
        },
      ];
}

/** Whose kind a role without pg_read_all_stats may not see is a client's where it has a user: a walsender may be among them. */
async function checkConnections({ client, config }: CheckedTarget): Promise<Finding[]> {
  const [row] = (
    await client.query<{ free: number; most: number }>(
      `SELECT current_setting('max_connections')::int AS most, current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
              - coalesce(current_setting('reserved_connections', true)::int, 0) - (SELECT count(*)::int FROM pg_stat_activity WHERE coalesce(backend_type = 'client backend', usesysid IS NOT NULL)) AS free`,
    )
  ).rows;
  return row === undefined ? [] : judgeConnections(row, config.loadWorkers);
}

async function checkSettings({ client }: CheckedTarget): Promise<Finding[]> {
  const [row] = (
    await client.query<{ wal: number }>(
      `SELECT (setting::bigint * CASE unit WHEN 'kB' THEN 1 WHEN 'MB' THEN 1024 WHEN '8kB' THEN 8 ELSE 1048576 END / 1024)::int AS wal
         FROM pg_settings WHERE name = 'max_wal_size'`,
    )
  ).rows;
  const findings: Finding[] = [];
  if (row !== undefined && row.wal < SMALLEST_WAL_MIB)
    findings.push({
      severity: 'info',
      what: 'a load makes checkpoint upon checkpoint',
      evidence: `max_wal_size = ${row.wal} MiB`,
      fix: "ALTER SYSTEM SET max_wal_size = '8GB'; SELECT pg_reload_conf();",
    });
  for (const [name, what] of [
    ['fsync', 'a crash of the target may lose what it said it had, and with it the proof'],
    ['autovacuum', 'nothing cleans up after updates, and nobody keeps statistics'],
    ['full_page_writes', 'a crash of the target may leave torn pages'],
  ] as const) {
    if ((await readSetting(client, name)) !== 'off') continue;
    findings.push({ what, evidence: `${name} = off`, fix: `ALTER SYSTEM SET ${name} = on; SELECT pg_reload_conf();` });
  }
  return findings;
}

/** Roles that own or may use something in the source's chosen tables and are not there: their applications could not log in. */
async function checkRoles({ client }: CheckedTarget, { source, tables }: CheckContext): Promise<Finding[]> {
  const { rows } = await source.query<{ name: string }>(
    `SELECT DISTINCT r.rolname AS name FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
       JOIN LATERAL (SELECT c.relowner AS id UNION SELECT (aclexplode(c.relacl)).grantee) g ON g.id <> 0
       JOIN pg_roles r ON r.oid = g.id ORDER BY 1`,
    [tables.map((table) => table.schema), tables.map((table) => table.table)],
  );
  const names = rows.map((row) => row.name);
  const there = await client.query<{ name: string }>(
    'SELECT rolname AS name FROM pg_roles WHERE rolname = ANY ($1::text[])',
    [names],
  );
  const known = new Set(there.rows.map((row) => row.name));
  const missing = names.filter((name) => !known.has(name));
  return missing.length === 0
    ? []
    : [
        {
          what: 'roles that own or use chosen tables are not at the target: their grants are left out, and their applications cannot log in',
          evidence: listSome(missing),
          fix: `pg_dumpall --roles-only at the source, these roles of it at the target: ${missing.map(quoteIdentifier).join(', ')}`,
        },
      ];
}

const DATABASE_SETTINGS = `SELECT coalesce(r.rolname, '') AS role, unnest(s.setconfig) AS setting FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
  WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) ORDER BY 1, 2`;

/** By name alone: a setting's value may be a secret. */
async function checkDatabaseSettings({ client }: CheckedTarget, { source }: CheckContext): Promise<Finding[]> {
  type Row = { readonly role: string; readonly setting: string };
  const theirs = new Set(
    (await client.query<Row>(DATABASE_SETTINGS)).rows.map(({ role, setting }) => `${role}\0${setting}`),
  );
  const missing = (await source.query<Row>(DATABASE_SETTINGS)).rows.filter(
    ({ role, setting }) => !theirs.has(`${role}\0${setting}`),
  );
  const names = missing.map(
    ({ role, setting }) => `${setting.split('=')[0] ?? ''}${role === '' ? '' : ` of role ${role}`}`,
  );
  return names.length === 0
    ? []
    : [
        {
          what: 'settings of the source database, or of roles in it, are not those of the target',
          evidence: listSome(names),
          fix: 'ALTER DATABASE … SET …, ALTER ROLE … IN DATABASE … SET … at the target, as pg_dumpall prints them at the source',
        },
      ];
}
