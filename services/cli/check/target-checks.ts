import { findPgTools } from '#adapters/postgres/target/pg-dump.ts';
import { SchemaJournal } from '#adapters/postgres/target/schema-journal.ts';
import { findCheckpoint } from '#adapters/postgres/target/target-state.ts';
import { requireAbsent, requireEmpty, requireFilled, requireFitting } from '#adapters/postgres/target/target-tables.ts';
import { RestageError } from '#core/errors.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { readSetting, type CheckContext, type CheckedTarget } from './check-context.ts';
import type { Check, Finding } from './finding.ts';

/** Every target: can it hold what comes, and may we write it there. */
export const TARGET_CHECKS: readonly Check[] = [
  { id: 'target.version', severity: 'block', run: eachTarget(checkVersion) },
  { id: 'target.schema_tool', severity: 'block', run: checkTool },
  { id: 'target.encoding', severity: 'block', run: eachTarget(checkEncoding) },
  { id: 'target.read_only', severity: 'block', run: eachTarget(checkReadOnly) },
  { id: 'target.create', severity: 'block', run: eachTarget(checkCreate) },
  { id: 'target.state', severity: 'block', run: eachTarget(checkState) },
  { id: 'target.tables', severity: 'block', run: eachTarget(checkTables) },
];

/** A check of one target, run for each, its evidence naming the target. */
export function eachTarget(run: (target: CheckedTarget, context: CheckContext) => Promise<Finding[]>): Check['run'] {
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

/** The schema `restage`, and those in which Restage makes tables. */
async function checkCreate({ client, config, role, tables }: CheckedTarget): Promise<Finding[]> {
  const made = config.schema === 'require' ? [] : [...new Set(tables.map((table) => table.schema))];
  const { rows } = await client.query<{ schema: string; quoted: string; there: boolean; ready: boolean }>(
    `SELECT s.name AS schema, quote_ident(current_database()) AS quoted, n.oid IS NOT NULL AS there,
            CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'create')
                 ELSE has_schema_privilege(n.oid, 'create') AND has_schema_privilege(n.oid, 'usage') END AS ready
       FROM unnest($1::text[]) AS s(name) LEFT JOIN pg_namespace n ON n.nspname = s.name`,
    [['restage', ...made]],
  );
  const refused = rows.filter((row) => !row.ready);
  const present = refused.filter((row) => row.there).map((row) => row.schema);
  const absent = refused.filter((row) => !row.there);
  const findings: Finding[] = [];
  if (absent.length > 0) {
    findings.push({
      what: 'the role may not make schemas, and Restage needs them: its state is in one of its own',
      evidence: `role ${role}, schema ${absent.map((row) => row.schema).join(', ')}`,
      fix: `GRANT CREATE ON DATABASE ${absent[0]?.quoted ?? ''} TO ${quoteIdentifier(role)};`,
    });
  }
  if (present.length > 0) {
    findings.push({
      what: 'the role may not make tables in schemas of the target',
      evidence: `role ${role}, schema ${present.join(', ')}`,
      fix: `GRANT USAGE, CREATE ON SCHEMA ${present.map(quoteIdentifier).join(', ')} TO ${quoteIdentifier(role)};`,
    });
  }
  return findings;
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
    const journal = new SchemaJournal(client, context.config.name);
    const isBegun = await journal.isPreDataDone();
    if (isBegun || config.schema === 'require') await requireFitting(client, tables);
    if (!isBegun && config.schema === 'require') await requireFilled(client, tables);
    if (!isBegun && config.schema === 'require') await requireEmpty(client, tables);
    if (!isBegun && config.schema !== 'require') await requireAbsent(client, await journal.withoutMade(tables));
    return [];
  } catch (error) {
    return [findingOf(error)];
  }
}

/** An error that says what, where and what to do is a finding. */
export function findingOf(error: unknown): Finding {
  if (!(error instanceof RestageError)) throw error;
  return { what: error.message, evidence: error.where ?? error.code, fix: error.fix ?? 'see the message' };
}
