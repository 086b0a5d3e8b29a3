import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteIdentifier, quoteTable, tableKey, type TableName } from '#core/table-name.ts';

/** The statement an owner runs where Restage's role may not. */
export function publicationSql(name: string, tables: readonly TableStructure[], major: number): string {
  const list = tables.map((table) => `ONLY ${quoteTable(table)}`).join(', ');
  // Else the source itself refuses UPDATE and DELETE there (PostgreSQL 18: "Generated Column Replication").
  const isComputed = tables.some(
    ({ identity, columns }) => identity.isFull && columns.some(({ generation }) => generation?.kind === 'stored'),
  );
  const options = major >= 18 && isComputed ? ' WITH (publish_generated_columns = stored)' : '';
  return `CREATE PUBLICATION ${quoteIdentifier(name)} FOR TABLE ${list}${options}`;
}

/**
 * Sees to it that a publication covers the tables: an owner-made one is used as it is, else ours is made.
 * Returns whether it was made now. @throws RestageError publication_missing with the SQL for the owner.
 */
export async function ensurePublication(
  client: pg.ClientBase,
  name: string,
  tables: readonly TableStructure[],
): Promise<boolean> {
  const exists = (await client.query('SELECT FROM pg_publication WHERE pubname = $1', [name])).rowCount === 1;
  if (exists) {
    await requireCovered(client, name, tables);
    return false;
  }
  const sql = await publicationSqlFor(client, name, tables);
  try {
    await client.query(sql);
    return true;
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : '';
    if (code !== '42501') throw cause;
    throw notMade(name, sql, cause);
  }
}

/**
 * What ensurePublication would refuse, with nothing made: publishing a table is its owner's right and takes CREATE on the
 * database (PostgreSQL: "CREATE PUBLICATION", Notes). @throws RestageError publication_missing.
 */
export async function requirePublishable(
  client: pg.ClientBase,
  name: string,
  tables: readonly TableStructure[],
): Promise<void> {
  const exists = (await client.query('SELECT FROM pg_publication WHERE pubname = $1', [name])).rowCount === 1;
  if (exists) return requireCovered(client, name, tables);
  const { rowCount } = await client.query(
    `SELECT FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
      WHERE NOT pg_has_role(current_user, c.relowner, 'usage') OR NOT has_database_privilege(current_database(), 'create')`,
    [tables.map((table) => table.schema), tables.map((table) => table.table)],
  );
  if (rowCount !== 0) throw notMade(name, await publicationSqlFor(client, name, tables));
}

function notMade(name: string, sql: string, cause?: unknown): RestageError {
  return new RestageError(
    'publication_missing',
    `the source has no publication ${name}, and the role may not make it`,
    {
      cause,
      where: `publication ${name}`,
      fix: `as the tables' owner: ${sql};`,
    },
  );
}

async function publicationSqlFor(
  client: pg.ClientBase,
  name: string,
  tables: readonly TableStructure[],
): Promise<string> {
  const [version] = (await client.query<{ server_version_num: string }>('SHOW server_version_num')).rows;
  return publicationSql(name, tables, Math.floor(Number(version?.server_version_num ?? '0') / 10_000));
}

/** Chosen tables that the publication does not name, and those of which it sends some rows or columns only. */
export async function findUncovered(
  client: pg.ClientBase,
  name: string,
  tables: readonly TableStructure[],
): Promise<{ readonly missing: TableStructure[]; readonly partial: TableStructure[] }> {
  // Row filters and lists of columns came with PostgreSQL 15: to_jsonb asks for columns that may not be there.
  const { rows } = await client.query<TableName & { filter: string | null; columns: string[] | null }>(
    `SELECT schemaname AS schema, tablename AS table, to_jsonb(p) ->> 'rowfilter' AS filter, to_jsonb(p) -> 'attnames' AS columns
       FROM pg_publication_tables p WHERE pubname = $1`,
    [name],
  );
  const covered = new Map(rows.map((row) => [tableKey(row), row]));
  return {
    missing: tables.filter((table) => !covered.has(tableKey(table))),
    partial: tables.filter((table) => {
      const row = covered.get(tableKey(table));
      const sent = row?.columns ?? null;
      const isCut = sent !== null && table.columns.some((column) => !column.generated && !sent.includes(column.name));
      return row !== undefined && (row.filter !== null || isCut);
    }),
  };
}

async function requireCovered(client: pg.ClientBase, name: string, tables: readonly TableStructure[]): Promise<void> {
  const { missing, partial } = await findUncovered(client, name, tables);
  if (partial.length > 0) {
    throw new RestageError(
      'publication_missing',
      `the publication ${name} leaves out rows or columns of ${partial.length} of the chosen tables`,
      {
        where: partial.slice(0, 8).map(formatTable).join(', '),
        fix: `as its owner: ALTER PUBLICATION ${quoteIdentifier(name)} SET TABLE … without WHERE and lists of columns`,
      },
    );
  }
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
