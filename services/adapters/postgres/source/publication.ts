import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { formatTable, quoteIdentifier, quoteTable, tableKey, type TableName } from '#core/table-name.ts';

/** The statement an owner runs where Restage's role may not. */
export function publicationSql(name: string, tables: readonly TableName[]): string {
  return `CREATE PUBLICATION ${quoteIdentifier(name)} FOR TABLE ${tables.map((table) => `ONLY ${quoteTable(table)}`).join(', ')}`;
}

/**
 * Sees to it that a publication covers the tables: an owner-made one is used as it is, else ours is made.
 * Returns whether it was made now. @throws RestageError publication_missing with the SQL for the owner.
 */
export async function ensurePublication(
  client: pg.ClientBase,
  name: string,
  tables: readonly TableName[],
): Promise<boolean> {
  const exists = (await client.query('SELECT FROM pg_publication WHERE pubname = $1', [name])).rowCount === 1;
  if (exists) {
    await requireCovered(client, name, tables);
    return false;
  }
  try {
    await client.query(publicationSql(name, tables));
    return true;
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : '';
    if (code !== '42501') throw cause;
    throw notMade(name, tables, cause);
  }
}

/**
 * What ensurePublication would refuse, with nothing made: publishing a table is its owner's right and takes CREATE on the
 * database (PostgreSQL: "CREATE PUBLICATION", Notes). @throws RestageError publication_missing.
 */
export async function requirePublishable(
  client: pg.ClientBase,
  name: string,
  tables: readonly TableName[],
): Promise<void> {
  const exists = (await client.query('SELECT FROM pg_publication WHERE pubname = $1', [name])).rowCount === 1;
  if (exists) return requireCovered(client, name, tables);
  const { rowCount } = await client.query(
    `SELECT FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
      WHERE NOT pg_has_role(current_user, c.relowner, 'usage') OR NOT has_database_privilege(current_database(), 'create')`,
    [tables.map((table) => table.schema), tables.map((table) => table.table)],
  );
  if (rowCount !== 0) throw notMade(name, tables);
}

function notMade(name: string, tables: readonly TableName[], cause?: unknown): RestageError {
  return new RestageError(
    'publication_missing',
    `the source has no publication ${name}, and the role may not make it`,
    {
      cause,
      where: `publication ${name}`,
      fix: `as the tables' owner: ${publicationSql(name, tables)};`,
    },
  );
}

async function requireCovered(client: pg.ClientBase, name: string, tables: readonly TableName[]): Promise<void> {
  const { rows } = await client.query<TableName>(
    'SELECT schemaname AS schema, tablename AS table FROM pg_publication_tables WHERE pubname = $1',
    [name],
  );
  const covered = new Set(rows.map(tableKey));
  const missing = tables.filter((table) => !covered.has(tableKey(table)));
  if (missing.length === 0) return;
  throw new RestageError(
    'publication_missing',
    `the publication ${name} does not cover ${missing.length} of the chosen tables`,
    {
      where: missing.slice(0, 8).map(formatTable).join(', '),
      fix: `as its owner: ALTER PUBLICATION ${quoteIdentifier(name)} ADD TABLE ${missing.map((table) => `ONLY ${quoteTable(table)}`).join(', ')};`,
    },
  );
}
