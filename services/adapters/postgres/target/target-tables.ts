import type pg from 'pg';
import type { TargetConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { findMisfits } from '#core/structure-fit.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteTable, tableKey, type TableName } from '#core/table-name.ts';
import { readTables } from '../catalog.ts';

/** Which of the tables are in the target. */
export async function presentTables(client: pg.ClientBase, tables: readonly TableName[]): Promise<TableName[]> {
  const { rows } = await client.query<TableName>(
    `SELECT t.schema, t.name AS table FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
       JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name`,
    [tables.map((table) => table.schema), tables.map((table) => table.table)],
  );
  return rows;
}

/**
 * @throws RestageError schema_differs when some of the tables are there already, journalled by nobody: they are not
 * this pipeline's to fill.
 */
export async function requireAbsent(client: pg.ClientBase, tables: readonly TableName[]): Promise<void> {
  const present = await presentTables(client, tables);
  if (present.length === 0) return;
  throw new RestageError(
    'schema_differs',
    `${present.length} of ${tables.length} chosen tables are in the target already, not made by this pipeline`,
    {
      where: nameSome(present.map(formatTable)),
      fix: 'drop them, or set schema: require for the target if they are meant to be filled',
    },
  );
}

/** @throws RestageError schema_missing or schema_differs, naming tables and columns. */
export async function requireFitting(
  client: pg.ClientBase,
  tables: readonly TableStructure[],
  labels: 'there' | 'to come' = 'there',
): Promise<void> {
  const found = new Map((await readTables(client, '', { partitions: 'all' })).map((table) => [tableKey(table), table]));
  const missing = tables.filter((table) => !found.has(tableKey(table)));
  if (missing.length > 0) {
    throw new RestageError('schema_missing', `${missing.length} of ${tables.length} tables are not in the target`, {
      where: nameSome(missing.map(formatTable)),
      fix: 'create them, or set schema: copy or schema: create for the target',
    });
  }
  const problems = tables.flatMap((table) => {
    const there = found.get(tableKey(table));
    return there === undefined
      ? []
      : findMisfits(table, there, labels).map((problem) => `${formatTable(table)}: ${problem}`);
  });
  if (problems.length === 0) return;
  throw new RestageError('schema_differs', 'tables in the target cannot take the events of the source', {
    where: nameSome(problems),
    fix: 'alter the columns named at the target, or add a rule that renames or drops them; where the source dropped or changed them since its load, schema: create makes the tables as the history begins',
  });
}

/** @throws RestageError schema_differs where no row could arrive: a column must have a value, and no event brings one. */
export async function requireFilled(client: pg.ClientBase, tables: readonly TableStructure[]): Promise<void> {
  const { rows } = await client.query<TableName & { readonly column: string }>(
    `SELECT t.schema, t.name AS table, a.attname AS column FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
       JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
       JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      WHERE a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''`,
    [tables.map((table) => table.schema), tables.map((table) => table.table)],
  );
  const wanted = new Map(tables.map((table) => [tableKey(table), table]));
  const unfilled = rows.filter(
    ({ column, ...table }) => wanted.get(tableKey(table))?.columns.some(({ name }) => name === column) !== true,
  );
  if (unfilled.length === 0) return;
  throw new RestageError('schema_differs', 'columns of the target are NOT NULL, and no event brings a value for them', {
    where: nameSome(unfilled.map(({ column, ...table }) => `${formatTable(table)}: column ${column}`)),
    fix: 'let the rules keep, rename or set such a column; or give it a default at the target, or drop its NOT NULL',
  });
}

/** @throws RestageError target_not_empty: rows that nobody journalled would meet the load's. */
export async function requireEmpty(client: pg.ClientBase, tables: readonly TableName[]): Promise<void> {
  const filled: string[] = [];
  for (const table of tables) {
    if (((await client.query(`SELECT FROM ONLY ${quoteTable(table)} LIMIT 1`)).rowCount ?? 0) > 0)
      filled.push(formatTable(table));
  }
  if (filled.length === 0) return;
  throw new RestageError(
    'target_not_empty',
    `${filled.length} of the target's tables hold rows before the load begins`,
    {
      where: nameSome(filled),
      fix: `if nobody needs the rows: TRUNCATE ${filled.slice(0, 8).join(', ')}; else name another database in the target's url`,
    },
  );
}

/**
 * What pre-data will ask for, before anything is made; a pipeline that has begun here is past it.
 * @throws RestageError schema_missing, schema_differs or target_not_empty.
 */
export async function requireReadyTables(
  client: pg.ClientBase,
  schema: TargetConfig['schema'],
  tables: readonly TableStructure[],
): Promise<void> {
  if (schema !== 'require') return requireAbsent(client, tables);
  await requireFitting(client, tables);
  await requireFilled(client, tables);
  await requireEmpty(client, tables);
}

function nameSome(names: readonly string[]): string {
  return names.length <= 8 ? names.join('; ') : `${names.slice(0, 8).join('; ')} and ${names.length - 8} more`;
}
