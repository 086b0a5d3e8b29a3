import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { formatTable, quoteIdentifier, quoteTable, type TableName } from '#core/table-name.ts';
import { dropForeignKeySql, foreignKeySteps, readForeignKeys, requireMeetable } from './foreign-keys.ts';
import { SchemaJournal, type BuildStep } from './schema-journal.ts';

/** A trigger or rule that fires on what is written to its table. */
export interface Hook extends TableName {
  readonly kind: 'TRIGGER' | 'RULE';
  readonly name: string;
  /** pg_trigger.tgenabled or pg_rewrite.ev_enabled. */
  readonly state: 'O' | 'R' | 'A';
}

const STATES = { O: 'ENABLE', R: 'ENABLE REPLICA', A: 'ENABLE ALWAYS' } as const;
const REFUSED = '42501';

/** A partition's copy of its parent's trigger is internal in PostgreSQL 14, as foreign keys' triggers are everywhere. */
const HOOKS_SQL = `
  WITH chosen AS (
    SELECT t.schema, t.name, c.oid FROM unnest($1::text[], $2::text[]) AS t(schema, name)
      JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
      JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name)
  SELECT c.schema, c.name AS table, 'TRIGGER' AS kind, g.tgname AS name, g.tgenabled::text AS state
    FROM chosen c JOIN pg_catalog.pg_trigger g ON g.tgrelid = c.oid
   WHERE g.tgenabled <> 'D' AND g.tgname NOT LIKE 'restage\\_guard\\_%' AND (NOT g.tgisinternal OR (g.tgparentid <> 0 AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_constraint k WHERE k.oid = g.tgconstraint AND k.contype <> 't')))
  UNION ALL
  SELECT c.schema, c.name, 'RULE', r.rulename, r.ev_enabled::text
    FROM chosen c JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid
   WHERE r.ev_enabled <> 'D' AND r.rulename <> '_RETURN'
   ORDER BY 1, 2, 3, 4`;

/** Triggers and rules of these tables that are not disabled. */
export async function readHooks(client: pg.ClientBase, tables: readonly TableName[]): Promise<Hook[]> {
  const names = [tables.map((table) => table.schema), tables.map((table) => table.table)];
  return (await client.query<Hook>(HOOKS_SQL, names)).rows;
}

/**
 * Makes tables ready for a session that is no replica, in the caller's transaction; again after every start, for people may have made
 * more. Triggers and rules are disabled until the switch; a chunk of the load is a transaction of its own, which knows nothing of the
 * rows that the next one brings, so until the load is done the foreign keys between the tables are away too. The journal has what
 * brings each back exactly as it was.
 * @throws RestageError foreign_key_unmet, or target_auth where the role owns not all of it.
 */
export async function takeAway(
  client: pg.ClientBase,
  pipeline: string,
  tables: readonly TableName[],
  isLoadDone: boolean,
): Promise<void> {
  const journal = new SchemaJournal(client, pipeline);
  await requireMeetable(client, tables);
  const [row] = (await client.query<{ role: string }>('SELECT quote_ident(current_user) AS role')).rows;
  const role = row?.role ?? '';
  for (const hook of await readHooks(client, tables)) {
    await journal.addStep(enableStep(hook), `${hook.kind} ${hook.name}`);
    await alter(
      client,
      role,
      hook,
      `ALTER TABLE ${quoteTable(hook)} DISABLE ${hook.kind} ${quoteIdentifier(hook.name)}`,
    );
  }
  if (isLoadDone) return;
  for (const key of await readForeignKeys(client, tables)) {
    if (key.parent === null) continue;
    for (const step of foreignKeySteps(key, false)) await journal.addStep(step, key.name);
    await alter(client, role, key, dropForeignKeySql(key));
  }
}

function enableStep({ schema, table, kind, name, state }: Hook): BuildStep {
  const sql = `ALTER TABLE ${quoteTable({ schema, table })} ${STATES[state]} ${kind} ${quoteIdentifier(name)}`;
  return { phase: 'enable', table: { schema, table }, name, sql, waits: true };
}

/** `role` for the message: a refused statement ends the transaction, and nothing could be asked after it. */
async function alter(
  client: pg.ClientBase,
  role: string,
  what: TableName & { readonly name: string },
  sql: string,
): Promise<void> {
  try {
    await client.query(sql);
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === REFUSED)) throw cause;
    throw new RestageError('target_auth', `the target's role may not alter a table: ${cause.message}`, {
      where: `${formatTable(what)}: ${what.name}`,
      fix: `ALTER TABLE ${quoteTable(what)} OWNER TO ${role};`,
      cause,
    });
  }
}
