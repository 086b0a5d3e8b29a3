import { mayActAsReplica } from '#adapters/postgres/target/apply-session.ts';
import { requireMeetable } from '#adapters/postgres/target/foreign-keys.ts';
import { isFinishStarted } from '#adapters/postgres/target/schema-finish.ts';
import { readHooks, type Hook } from '#adapters/postgres/target/take-away.ts';
import { presentTables } from '#adapters/postgres/target/target-tables.ts';
import { formatTable, quoteIdentifier, quoteTable, type TableName } from '#core/table-name.ts';
import type { CheckContext, CheckedTarget } from './check-context.ts';
import { listSome, type Check, type Finding } from './finding.ts';
import { eachTarget, findingOf } from './target-checks.ts';

/** Every target: may we apply to its tables, and what of theirs acts on what we apply. */
export const APPLY_CHECKS: readonly Check[] = [
  { id: 'target.owner', severity: 'block', run: eachTarget(checkOwner) },
  { id: 'target.replication_role', severity: 'warn', run: eachTarget(checkReplicationRole) },
  { id: 'target.foreign_keys', severity: 'block', run: eachTarget(checkForeignKeys) },
  { id: 'target.triggers', severity: 'warn', run: eachTarget(checkTriggers) },
  { id: 'target.finished', severity: 'block', run: eachTarget(checkFinished) },
];

/** A replica's session may do with the rights to read and write; others alter the tables. */
async function checkOwner(target: CheckedTarget): Promise<Finding[]> {
  const { client, role, tables } = target;
  const { rows } = await client.query<TableName>(
    `SELECT t.schema, t.name AS table FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
      WHERE NOT pg_has_role(current_user, c.relowner, 'usage') AND NOT ($3 AND has_table_privilege(c.oid, 'select')
        AND has_table_privilege(c.oid, 'insert') AND has_table_privilege(c.oid, 'update') AND has_table_privilege(c.oid, 'delete'))`,
    [tables.map((table) => table.schema), tables.map((table) => table.table), await mayActAsReplica(target.client)],
  );
  return rows.length === 0
    ? []
    : [
        {
          what: `the role does not own ${rows.length} tables that it is to fill`,
          evidence: `role ${role}; ${listSome(rows.map(formatTable))}`,
          fix: rows.map((row) => `ALTER TABLE ${quoteTable(row)} OWNER TO ${quoteIdentifier(role)};`).join('\n'),
        },
      ];
}

async function checkReplicationRole(target: CheckedTarget): Promise<Finding[]> {
  if (await mayActAsReplica(target.client)) return [];
  const { client, role, tables } = target;
  const hooks = await readHooks(client, await presentTables(client, tables));
  const waiting = hooks.length === 0 ? '' : `; ${listSome(hooks.map(describeHook))}`;
  return [
    {
      what: "triggers and rules of the target's tables are off from the start of the sink until restage schema finish",
      evidence: `role ${role} may not set session_replication_role${waiting}`,
      fix: `GRANT SET ON PARAMETER session_replication_role TO ${quoteIdentifier(role)}; -- as a superuser; PostgreSQL 15 and newer`,
    },
  ];
}

/** What the sink would refuse at its start, in the same words. */
async function checkForeignKeys(target: CheckedTarget): Promise<Finding[]> {
  if (await mayActAsReplica(target.client)) return [];
  try {
    await requireMeetable(target.client, target.tables);
    return [];
  } catch (error) {
    return [findingOf(error)];
  }
}

/** A replica's session fires what is ENABLE ALWAYS or ENABLE REPLICA. */
async function checkTriggers(target: CheckedTarget): Promise<Finding[]> {
  if (!(await mayActAsReplica(target.client))) return [];
  const hooks = await readHooks(target.client, await presentTables(target.client, target.tables));
  const firing = hooks.filter((hook) => hook.state !== 'O');
  return firing.length === 0
    ? []
    : [
        {
          what: 'triggers at the target fire for replayed rows too; their tables are applied row by row',
          evidence: listSome(firing.map(describeHook)),
          fix: firing
            .map((hook) => `ALTER TABLE ${quoteTable(hook)} ENABLE ${hook.kind} ${quoteIdentifier(hook.name)};`)
            .join('\n'),
        },
      ];
}

async function checkFinished(target: CheckedTarget, { config }: CheckContext): Promise<Finding[]> {
  if (await mayActAsReplica(target.client)) return [];
  return (await isFinishStarted(target.client, config.name))
    ? [
        {
          what: 'restage schema finish gave this target to its application: nothing more is applied to it',
          evidence: 'restage.journal, step finish',
          fix: 'to migrate again, use an empty target',
        },
      ]
    : [];
}

function describeHook(hook: Hook): string {
  const state = { O: '', A: ' (ALWAYS)', R: ' (REPLICA)' }[hook.state];
  return `${formatTable(hook)}: ${hook.name}${state}`;
}
