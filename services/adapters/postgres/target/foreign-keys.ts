import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { numberTables } from '#core/key-order.ts';
import { formatTable, quoteIdentifier, quoteLiteral, quoteTable, tableKey, type TableName } from '#core/table-name.ts';
import type { BuildStep } from './schema-journal.ts';

/** A foreign key of some tables, as the catalog has it. */
export interface ForeignKey extends TableName {
  readonly name: string;
  readonly definition: string;
  readonly comment: string | null;
  readonly is_valid: boolean;
  readonly is_partitioned: boolean;
  /** OIDs of the tables at both ends, of the whole tree for a partition; the parent's is null when it is none of those asked for. */
  readonly child: string;
  readonly parent: string | null;
  /** Its ON DELETE or ON UPDATE changes rows, which the source's own did already. */
  readonly acts: boolean;
  /** RESTRICT, which no deferral puts off (PostgreSQL: "CREATE TABLE", REFERENCES). */
  readonly restricts: boolean;
  readonly is_deferrable: boolean;
}

const KEYS_SQL = `
  WITH chosen AS (
    SELECT c.oid, coalesce(pg_catalog.pg_partition_root(c.oid), c.oid)::oid AS node
      FROM unnest($1::text[], $2::text[]) AS t(schema, name)
      JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
      JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name),
  related AS (
    SELECT DISTINCT coalesce(a.relid, chosen.oid)::oid AS oid, chosen.node
      FROM chosen LEFT JOIN LATERAL pg_catalog.pg_partition_ancestors(chosen.oid) AS a(relid) ON true)
  SELECT n.nspname AS schema, c.relname AS table, con.conname AS name, pg_catalog.pg_get_constraintdef(con.oid) AS definition,
         pg_catalog.obj_description(con.oid, 'pg_constraint') AS comment, con.convalidated AS is_valid, c.relkind = 'p' AS is_partitioned,
         child.node::text AS child, parent.node::text AS parent, con.condeferrable AS is_deferrable,
         con.confdeltype IN ('c', 'n', 'd') OR con.confupdtype IN ('c', 'n', 'd') AS acts,
         con.confdeltype = 'r' OR con.confupdtype = 'r' AS restricts
    FROM related child
    JOIN pg_catalog.pg_class c ON c.oid = child.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_constraint con ON con.conrelid = c.oid AND con.contype = 'f' AND con.conparentid = 0
    LEFT JOIN related parent ON parent.oid = con.confrelid
   ORDER BY 1, 2, 3`;

/** Foreign keys of these tables and of the partitioned ones above them. */
export async function readForeignKeys(client: pg.ClientBase, tables: readonly TableName[]): Promise<ForeignKey[]> {
  return (await client.query<ForeignKey>(KEYS_SQL, namesOf(tables))).rows;
}

/** Keys that a session which is no replica cannot live with: those that act, and rings whose checks cannot be put off. */
export function findUnmeetable(keys: readonly ForeignKey[]): Set<ForeignKey> {
  const numbers = numberTables(bindingEdges(keys));
  return new Set(
    keys.filter(
      (key) =>
        key.parent !== null && (key.acts || (isBinding(key) && numbers.get(key.child) === numbers.get(key.parent))),
    ),
  );
}

/**
 * Where session_replication_role is refused: no key between these tables acts, and an order of the tables meets the others.
 * @throws RestageError foreign_key_unmet with the statement that mends each.
 */
export async function requireMeetable(client: pg.ClientBase, tables: readonly TableName[]): Promise<void> {
  const keys = [...findUnmeetable(await readForeignKeys(client, tables))];
  if (keys.length === 0) return;
  const [row] = (await client.query<{ role: string }>('SELECT quote_ident(current_user) AS role')).rows;
  throw new RestageError(
    'foreign_key_unmet',
    'the role may not set session_replication_role, and foreign keys of the target cannot be met without',
    {
      where: keys.map((key) => `${formatTable(key)}: ${key.name} (${whyUnmeetable(key)})`).join('; '),
      fix: [
        ...keys.map(mendingSql),
        `-- or, as a superuser: GRANT SET ON PARAMETER session_replication_role TO ${row?.role ?? ''};`,
      ].join('\n'),
    },
  );
}

/** The place of each table among the others, by tableKey: parents before children. Tables that no key names are not in it. */
export async function readTableRanks(
  client: pg.ClientBase,
  tables: readonly TableName[],
): Promise<ReadonlyMap<string, number>> {
  const numbers = numberTables(bindingEdges(await readForeignKeys(client, tables)));
  const { rows } = await client.query<TableName & { node: string }>(
    `SELECT t.schema, t.name AS table, coalesce(pg_catalog.pg_partition_root(c.oid), c.oid)::oid::text AS node
       FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
       JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name`,
    namesOf(tables),
  );
  return new Map(
    rows.flatMap((row) => {
      const rank = numbers.get(row.node);
      return rank === undefined ? [] : [[tableKey(row), rank] as const];
    }),
  );
}

/**
 * The statements that bring a key back: NOT VALID takes a short lock, VALIDATE reads the table while others write (PostgreSQL:
 * "ALTER TABLE", Notes).
 */
export function foreignKeySteps(key: ForeignKey, waits: boolean): BuildStep[] {
  const table = quoteTable(key);
  const name = quoteIdentifier(key.name);
  const inTwo = key.is_valid && !key.is_partitioned;
  const comment =
    key.comment === null ? '' : `;\nCOMMENT ON CONSTRAINT ${name} ON ${table} IS ${quoteLiteral(key.comment)}`;
  const common = { table: { schema: key.schema, table: key.table }, waits };
  const add: BuildStep = {
    ...common,
    phase: 'foreignKey',
    name: key.name,
    sql: `ALTER TABLE ${table} ADD CONSTRAINT ${name} ${key.definition}${inTwo ? ' NOT VALID' : ''}${comment}`,
  };
  const validate: BuildStep = {
    ...common,
    phase: 'validate',
    name: '',
    sql: `ALTER TABLE ${table} VALIDATE CONSTRAINT ${name}`,
  };
  return inTwo ? [add, validate] : [add];
}

export function dropForeignKeySql(key: ForeignKey): string {
  return `ALTER TABLE ${quoteTable(key)} DROP CONSTRAINT ${quoteIdentifier(key.name)}`;
}

function isBinding(key: ForeignKey): boolean {
  return !key.is_deferrable || key.restricts;
}

function bindingEdges(keys: readonly ForeignKey[]): { readonly child: string; readonly parent: string }[] {
  return keys.flatMap((key) =>
    key.parent !== null && isBinding(key) ? [{ child: key.child, parent: key.parent }] : [],
  );
}

function whyUnmeetable(key: ForeignKey): string {
  if (key.acts) return 'its ON DELETE or ON UPDATE would repeat what the source did';
  return `${key.child === key.parent ? 'it refers to its own table' : 'it closes a ring'} and is checked at once`;
}

function mendingSql(key: ForeignKey): string {
  const table = quoteTable(key);
  const name = quoteIdentifier(key.name);
  if (!key.acts && !key.restricts) return `ALTER TABLE ${table} ALTER CONSTRAINT ${name} DEFERRABLE;`;
  return `${dropForeignKeySql(key)}; -- and at the switch: ALTER TABLE ${table} ADD CONSTRAINT ${name} ${key.definition};`;
}

function namesOf(tables: readonly TableName[]): [string[], string[]] {
  return [tables.map((table) => table.schema), tables.map((table) => table.table)];
}
