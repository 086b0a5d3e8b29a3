import type pg from 'pg';
import { inGroups } from '#core/in-groups.ts';
import { quoteIdentifier, quoteTable, type TableName } from '#core/table-name.ts';
import { dropForeignKeySql, findUnmeetable, foreignKeySteps, readForeignKeys } from './foreign-keys.ts';
import type { BuildStep } from './schema-journal.ts';

interface IndexRow extends TableName {
  readonly name: string;
  readonly definition: string;
  readonly quoted_name: string;
  readonly is_partitioned: boolean;
  readonly is_identity: boolean;
  readonly is_clustered: boolean;
  readonly kind: 'p' | 'u' | 'x' | null;
  readonly constraint: string | null;
  readonly constraint_definition: string | null;
  readonly is_btree: boolean;
  readonly is_deferrable: boolean;
  readonly is_deferred: boolean;
}

interface HookRow extends TableName {
  readonly kind: 'TRIGGER' | 'RULE';
  readonly name: string;
  readonly definition: string;
  readonly enabled: 'O' | 'D' | 'R' | 'A';
}

interface CheckRow extends TableName {
  readonly name: string;
  readonly definition: string;
}

interface Captured {
  readonly steps: readonly BuildStep[];
  readonly drop: string;
}

const DROPPED_AT_ONCE = 100;
const HELD_BY_OTHERS = '2BP01';
const ENABLE = { O: null, D: 'DISABLE', R: 'ENABLE REPLICA', A: 'ENABLE ALWAYS' } as const;

/** The tables and the partitioned ones above them, whose keys and indexes their partitions inherit. */
const WITH_TABLES = `
  WITH chosen AS (
    SELECT DISTINCT coalesce(a.relid, c.oid) AS oid
      FROM unnest($1::text[], $2::text[]) AS t(schema, name)
      JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
      JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
      LEFT JOIN LATERAL pg_catalog.pg_partition_ancestors(c.oid) AS a(relid) ON true)`;

const INDEXES_SQL = `${WITH_TABLES}
  SELECT n.nspname AS schema, c.relname AS table, ic.relname AS name, pg_catalog.pg_get_indexdef(ic.oid) AS definition,
         pg_catalog.quote_ident(ic.relname) AS quoted_name, c.relkind = 'p' AS is_partitioned, i.indisreplident AS is_identity,
         i.indisclustered AS is_clustered,
         con.contype::text AS kind, con.conname AS constraint, pg_catalog.pg_get_constraintdef(con.oid) AS constraint_definition,
         am.amname = 'btree' AS is_btree, coalesce(con.condeferrable, false) AS is_deferrable, coalesce(con.condeferred, false) AS is_deferred
    FROM chosen
    JOIN pg_catalog.pg_class c ON c.oid = chosen.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_index i ON i.indrelid = c.oid
    JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
    JOIN pg_catalog.pg_am am ON am.oid = ic.relam
    LEFT JOIN pg_catalog.pg_constraint con ON con.conindid = ic.oid AND con.conrelid = c.oid AND con.contype IN ('p', 'u', 'x')
   WHERE NOT ic.relispartition
   ORDER BY 1, 2, con.contype IS DISTINCT FROM 'p', 3`;

/** Rows that were there before a constraint NOT VALID need not meet it. */
const CHECKS_SQL = `${WITH_TABLES}
  SELECT n.nspname AS schema, c.relname AS table, con.conname AS name, pg_catalog.pg_get_constraintdef(con.oid) AS definition
    FROM chosen
    JOIN pg_catalog.pg_class c ON c.oid = chosen.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_constraint con ON con.conrelid = c.oid AND con.contype IN ('c', 'n') AND NOT con.convalidated AND con.conislocal
   ORDER BY 1, 2, 3`;

const HOOKS_SQL = `${WITH_TABLES}
  SELECT n.nspname AS schema, c.relname AS table, 'TRIGGER' AS kind, t.tgname AS name,
         pg_catalog.pg_get_triggerdef(t.oid) AS definition, t.tgenabled::text AS enabled
    FROM chosen
    JOIN pg_catalog.pg_class c ON c.oid = chosen.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgparentid = 0
  UNION ALL
  SELECT n.nspname, c.relname, 'RULE', r.rulename, pg_catalog.pg_get_ruledef(r.oid), r.ev_enabled::text
    FROM chosen
    JOIN pg_catalog.pg_class c ON c.oid = chosen.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid AND r.rulename <> '_RETURN'
   ORDER BY 1, 2, 3, 4`;

/**
 * Takes keys, indexes, foreign keys, constraints that are not valid, triggers and rules away from empty tables and returns the statements that bring them
 * back, as PostgreSQL writes their definitions now: after any renaming. What something else holds on to (a view that
 * groups by a primary key) stays where it is. In the caller's transaction.
 */
export async function takePostData(client: pg.ClientBase, tables: readonly TableName[]): Promise<BuildStep[]> {
  const names = [tables.map((table) => table.schema), tables.map((table) => table.table)];
  const keys = await readForeignKeys(client, tables);
  const unmeetable = findUnmeetable(keys);
  const foreignKeys = keys.map((key) => ({
    steps: foreignKeySteps(key, unmeetable.has(key)),
    drop: dropForeignKeySql(key),
  }));
  const hooks = (await client.query<HookRow>(HOOKS_SQL, names)).rows.map(captureHook);
  const indexes = (await client.query<IndexRow>(INDEXES_SQL, names)).rows.map(captureIndex);
  const checks = (await client.query<CheckRow>(CHECKS_SQL, names)).rows.map(captureCheck);
  const all = [...hooks, ...foreignKeys, ...indexes, ...checks];
  const steps: BuildStep[] = [];
  for (const some of inGroups(all, DROPPED_AT_ONCE)) steps.push(...(await dropFree(client, some)));
  return steps;
}

/** One by one where something holds on to one of them: each savepoint is a transaction of its own to the server, and a wait for it. */
async function dropFree(client: pg.ClientBase, all: readonly Captured[]): Promise<BuildStep[]> {
  if (await dropIfFree(client, all.map(({ drop }) => drop).join(';\n'))) return all.flatMap(({ steps }) => steps);
  const steps: BuildStep[] = [];
  if (all.length > 1) for (const one of all) steps.push(...(await dropFree(client, [one])));
  return steps;
}

async function dropIfFree(client: pg.ClientBase, sql: string): Promise<boolean> {
  await client.query('SAVEPOINT take');
  try {
    await client.query(sql);
    await client.query('RELEASE SAVEPOINT take');
    return true;
  } catch (error) {
    await client.query('ROLLBACK TO SAVEPOINT take');
    if (error instanceof Error && 'code' in error && error.code === HELD_BY_OTHERS) return false;
    throw error;
  }
}

/** A key is its index, built beside others without locking readers out, and then the constraint that adopts it in no time. */
function captureIndex(row: IndexRow): Captured {
  const table = quoteTable(row);
  const index = `${quoteIdentifier(row.schema)}.${quoteIdentifier(row.name)}`;
  const after = [
    row.is_identity ? `ALTER TABLE ${table} REPLICA IDENTITY USING INDEX ${quoteIdentifier(row.name)}` : null,
    row.is_clustered ? `ALTER TABLE ${table} CLUSTER ON ${quoteIdentifier(row.name)}` : null,
  ].flatMap((sql) => (sql === null ? [] : [{ phase: 'key' as const, table: nameOf(row), name: '', sql }]));
  if (row.constraint === null || row.kind === null) {
    const step = { phase: 'index' as const, table: nameOf(row), name: row.name, sql: indexSql(row) };
    return { steps: [step, ...after], drop: `DROP INDEX ${index}` };
  }
  const drop = `ALTER TABLE ${table} DROP CONSTRAINT ${quoteIdentifier(row.constraint)}`;
  const key = { phase: 'key' as const, table: nameOf(row), name: row.constraint };
  const add = `ALTER TABLE ${table} ADD CONSTRAINT ${quoteIdentifier(row.constraint)}`;
  if (row.kind === 'x' || row.is_partitioned || !row.is_btree) {
    return { steps: [{ ...key, sql: `${add} ${row.constraint_definition ?? ''}` }, ...after], drop };
  }
  const timing = `${row.is_deferrable ? ' DEFERRABLE' : ''}${row.is_deferred ? ' INITIALLY DEFERRED' : ''}`;
  const sql = `${add} ${row.kind === 'p' ? 'PRIMARY KEY' : 'UNIQUE'} USING INDEX ${quoteIdentifier(row.name)}${timing}`;
  return {
    steps: [{ phase: 'index', table: nameOf(row), name: row.name, sql: indexSql(row) }, { ...key, sql }, ...after],
    drop,
  };
}

/** pg_get_indexdef says ON ONLY for a partitioned table, which would leave the partitions without. */
function indexSql(row: IndexRow): string {
  const only = [`CREATE INDEX ${row.quoted_name} ON ONLY `, `CREATE UNIQUE INDEX ${row.quoted_name} ON ONLY `].find(
    (head) => row.definition.startsWith(head),
  );
  return only === undefined ? row.definition : only.slice(0, -'ONLY '.length) + row.definition.slice(only.length);
}

function captureCheck(row: CheckRow): Captured {
  const [table, name] = [quoteTable(row), quoteIdentifier(row.name)];
  const sql = `ALTER TABLE ${table} ADD CONSTRAINT ${name} ${row.definition}`;
  return {
    steps: [{ phase: 'key', table: nameOf(row), name: row.name, sql }],
    drop: `ALTER TABLE ${table} DROP CONSTRAINT ${name}`,
  };
}

function captureHook(row: HookRow): Captured {
  const table = quoteTable(row);
  const state = ENABLE[row.enabled];
  const enable = state === null ? '' : `;\nALTER TABLE ${table} ${state} ${row.kind} ${quoteIdentifier(row.name)}`;
  const sql = row.definition.replace(/;\s*$/, '') + enable;
  return {
    steps: [{ phase: 'trigger', table: nameOf(row), name: row.name, sql, waits: true }],
    drop: `DROP ${row.kind} ${quoteIdentifier(row.name)} ON ${table}`,
  };
}

function nameOf(row: TableName): TableName {
  return { schema: row.schema, table: row.table };
}
