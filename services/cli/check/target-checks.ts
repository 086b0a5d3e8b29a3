import { findPgTools } from '#adapters/postgres/target/pg-dump.ts';
import { SchemaJournal } from '#adapters/postgres/target/schema-journal.ts';
import { findCheckpoint } from '#adapters/postgres/target/target-state.ts';
import { presentTables, requireAbsent, requireEmpty, requireFitting } from '#adapters/postgres/target/target-tables.ts';
import { RestageError } from '#core/errors.ts';
import { formatTable, quoteIdentifier, quoteTable, type TableName } from '#core/table-name.ts';
import { readSetting, type CheckContext, type CheckedTarget } from './check-context.ts';
import { listSome, type Check, type Finding } from './finding.ts';

/** Every target: can it hold what comes, and may we write it there. */
export const TARGET_CHECKS: readonly Check[] = [
  { id: 'target.version', severity: 'block', run: eachTarget(checkVersion) },
  { id: 'target.schema_tool', severity: 'block', run: checkTool },
  { id: 'target.encoding', severity: 'block', run: eachTarget(checkEncoding) },
  { id: 'target.read_only', severity: 'block', run: eachTarget(checkReadOnly) },
  { id: 'target.create', severity: 'block', run: eachTarget(checkCreate) },
  { id: 'target.extensions', severity: 'block', run: eachTarget(checkExtensions) },
  { id: 'target.state', severity: 'block', run: eachTarget(checkState) },
  { id: 'target.tables', severity: 'block', run: eachTarget(checkTables) },
  { id: 'target.replication_role', severity: 'warn', run: eachTarget(checkReplicationRole) },
  { id: 'target.triggers', severity: 'warn', run: eachTarget(checkTriggers) },
];

function eachTarget(run: (target: CheckedTarget, context: CheckContext) => Promise<Finding[]>): Check['run'] {
  return async (context) => {
    const findings: Finding[] = [];
    for (const target of context.targets) {
      for (const finding of await run(target, context))
        findings.push({ ...finding, evidence: `target ${target.config.name}: ${finding.evidence}` });
    }
    return findings;
  };
}

async function checkVersion(target: CheckedTarget, { sourceMajor }: CheckContext): Promise<Finding[]> {
  return target.major >= sourceMajor
    ? []
    : [
        {
          severity: target.config.schema === 'copy' ? 'block' : 'warn',
          what: 'the target is older than the source',
          evidence: `PostgreSQL ${target.major}, the source is ${sourceMajor}`,
          fix: `use a target of version ${sourceMajor} or newer`,
        },
      ];
}

async function checkTool({ targets, sourceMajor }: CheckContext): Promise<Finding[]> {
  if (!targets.some((target) => target.config.schema === 'copy')) return [];
  try {
    await findPgTools(sourceMajor);
    return [];
  } catch (error) {
    return [findingOf(error)];
  }
}

async function checkEncoding({ client }: CheckedTarget): Promise<Finding[]> {
  const encoding = await readSetting(client, 'server_encoding');
  return encoding === 'UTF8'
    ? []
    : [
        {
          what: 'the target cannot hold every character',
          evidence: `server_encoding = ${encoding}`,
          fix: "make the target database anew with ENCODING 'UTF8' TEMPLATE template0",
        },
      ];
}

async function checkReadOnly({ client }: CheckedTarget): Promise<Finding[]> {
  const [row] = (
    await client.query<{ standby: boolean; name: string }>(
      'SELECT pg_is_in_recovery() AS standby, quote_ident(current_database()) AS name',
    )
  ).rows;
  if (row?.standby === true)
    return [
      {
        what: 'the target is a stand-by',
        evidence: 'pg_is_in_recovery() is true',
        fix: "name the primary in the target's url",
      },
    ];
  if ((await readSetting(client, 'default_transaction_read_only')) === 'off') return [];
  return [
    {
      what: 'the target takes no writes',
      evidence: 'default_transaction_read_only = on',
      fix: `ALTER DATABASE ${row?.name ?? ''} SET default_transaction_read_only = off;`,
    },
  ];
}

async function checkCreate({ client, role }: CheckedTarget): Promise<Finding[]> {
  const [row] = (
    await client.query<{ ready: boolean; name: string }>(
      `SELECT quote_ident(current_database()) AS name, has_database_privilege(current_database(), 'create')
            OR EXISTS (SELECT FROM pg_namespace WHERE nspname = 'restage' AND has_schema_privilege(oid, 'create')) AS ready`,
    )
  ).rows;
  return row?.ready !== false
    ? []
    : [
        {
          what: 'the role may not make schemas, and Restage keeps its state in one',
          evidence: `role ${role}`,
          fix: `GRANT CREATE ON DATABASE ${row.name} TO ${quoteIdentifier(role)};`,
        },
      ];
}

/** Extensions whose types the chosen tables' columns have. */
async function checkExtensions(
  { client, config }: CheckedTarget,
  { source, tables }: CheckContext,
): Promise<Finding[]> {
  const needed = (
    await source.query<{ name: string }>(
      `SELECT DISTINCT e.extname AS name FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
       JOIN pg_type y ON y.oid = a.atttypid
       JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid IN (y.oid, y.typelem) AND d.deptype = 'e'
       JOIN pg_extension e ON e.oid = d.refobjid`,
      [tables.map((table) => table.schema), tables.map((table) => table.table)],
    )
  ).rows.map((row) => row.name);
  const { rows } = await client.query<{ name: string; installed: boolean }>(
    'SELECT name::text AS name, installed_version IS NOT NULL AS installed FROM pg_available_extensions',
  );
  const there = new Map(rows.map((row) => [row.name, row.installed]));
  const unknown = needed.filter((name) => !there.has(name));
  // pg_dump's archive makes them itself.
  const uninstalled = config.schema === 'copy' ? [] : needed.filter((name) => there.get(name) === false);
  return [
    ...unknown.map((name) => ({
      what: `the extension ${name} is not available at the target`,
      evidence: 'not in pg_available_extensions',
      fix: `install the package of ${name} on the target's server`,
    })),
    ...uninstalled.map((name) => ({
      what: `the extension ${name} is not installed at the target`,
      evidence: 'pg_available_extensions.installed_version is null',
      fix: `CREATE EXTENSION ${quoteIdentifier(name)};`,
    })),
  ];
}

/** A position that a newer Restage wrote. */
async function checkState({ client }: CheckedTarget, { config }: CheckContext): Promise<Finding[]> {
  try {
    await findCheckpoint(client, config.name);
    return [];
  } catch (error) {
    return [findingOf(error)];
  }
}

/** What pre-data will ask for, before it does; a pipeline that has begun is past it. */
async function checkTables({ client, config, tables }: CheckedTarget, context: CheckContext): Promise<Finding[]> {
  try {
    const hasJournal =
      (await client.query("SELECT FROM pg_class WHERE oid = to_regclass('restage.journal')")).rowCount === 1;
    const isBegun = hasJournal && (await new SchemaJournal(client, context.config.name).isPreDataDone());
    if (isBegun || config.schema === 'require') await requireFitting(client, tables);
    if (!isBegun && config.schema === 'require') await requireEmpty(client, tables);
    if (!isBegun && config.schema !== 'require') await requireAbsent(client, tables);
    return [];
  } catch (error) {
    return [findingOf(error)];
  }
}

async function checkReplicationRole({ client, role, tables }: CheckedTarget): Promise<Finding[]> {
  await client.query('BEGIN');
  try {
    await client.query('SET LOCAL session_replication_role = replica');
    return [];
  } catch {
    await client.query('ROLLBACK');
    const acting = await actingForeignKeys(client, tables);
    return [
      {
        severity: acting.length > 0 ? 'block' : 'warn',
        what:
          acting.length > 0
            ? 'foreign keys at the target would repeat what the source already did (CASCADE, SET NULL, SET DEFAULT)'
            : 'triggers and foreign-key actions at the target fire during apply',
        evidence: `role ${role} may not set session_replication_role${acting.length > 0 ? `; ${listSome(acting)}` : ''}`,
        fix: `GRANT SET ON PARAMETER session_replication_role TO ${quoteIdentifier(role)}; -- as a superuser; PostgreSQL 15 and newer`,
      },
    ];
  } finally {
    await client.query('ROLLBACK');
  }
}

async function actingForeignKeys(client: CheckedTarget['client'], tables: readonly TableName[]): Promise<string[]> {
  const { rows } = await client.query<TableName & { name: string }>(
    `SELECT t.schema, t.name AS table, con.conname AS name FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
       JOIN pg_constraint con ON con.conrelid = c.oid AND con.contype = 'f'
      WHERE con.confdeltype IN ('c', 'n', 'd') OR con.confupdtype IN ('c', 'n', 'd')`,
    [tables.map((table) => table.schema), tables.map((table) => table.table)],
  );
  return rows.map((row) => `${formatTable(row)}: ${row.name}`);
}

async function checkTriggers({ client, tables }: CheckedTarget): Promise<Finding[]> {
  const present = await presentTables(client, tables);
  const { rows } = await client.query<TableName & { name: string; enabled: string }>(
    `SELECT t.schema, t.name AS table, g.tgname AS name, g.tgenabled::text AS enabled FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
       JOIN pg_trigger g ON g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgenabled IN ('A', 'R')`,
    [present.map((table) => table.schema), present.map((table) => table.table)],
  );
  return rows.length === 0
    ? []
    : [
        {
          what: 'triggers at the target fire for replayed rows too; their tables are applied row by row',
          evidence: listSome(
            rows.map((row) => `${formatTable(row)}: ${row.name} (${row.enabled === 'A' ? 'ALWAYS' : 'REPLICA'})`),
          ),
          fix: rows
            .map((row) => `ALTER TABLE ${quoteTable(row)} ENABLE TRIGGER ${quoteIdentifier(row.name)};`)
            .join('\n'),
        },
      ];
}

function findingOf(error: unknown): Finding {
  if (!(error instanceof RestageError)) throw error;
  return { what: error.message, evidence: error.where ?? error.code, fix: error.fix ?? 'see the message' };
}
