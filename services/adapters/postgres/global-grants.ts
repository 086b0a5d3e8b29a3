import type pg from 'pg';
import { isOfTheHost, type GlobalStatement } from '#core/globals.ts';
import { quoteIdentifier, quoteLiteral, quoteTable, type TableName } from '#core/table-name.ts';

/** A table of the source, and what it is called at the target. */
export interface GrantedTable {
  readonly source: TableName;
  readonly target: TableName;
}

/** Settings whose value is a list of names, which stand as they are (PostgreSQL: pg_dump's variable_is_guc_list_quote). */
const LISTS = new Set(['search_path', 'local_preload_libraries', 'session_preload_libraries', 'temp_tablespaces']);

/** Settings of the database itself and of roles in it, for a database of another name. */
export async function readDatabaseSettings(client: pg.ClientBase, database: string): Promise<GlobalStatement[]> {
  const { rows } = await client.query<{ role: string | null; name: string; value: string }>(
    `SELECT r.rolname AS role, o.option_name AS name, o.option_value AS value
       FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole CROSS JOIN LATERAL pg_options_to_table(s.setconfig) o
      WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1 NULLS FIRST, 2`,
  );
  return rows.map(({ role, name, value }) => {
    const what =
      role === null
        ? `DATABASE ${quoteIdentifier(database)}`
        : `ROLE ${quoteIdentifier(role)} IN DATABASE ${quoteIdentifier(database)}`;
    // A name with a dot is an extension's, of two names.
    const setting = name.split('.').map(quoteIdentifier).join('.');
    const text = LISTS.has(name) ? listOf(value) : quoteLiteral(value);
    return { kind: 'database', role: role ?? '', sql: `ALTER ${what} SET ${setting} TO ${text};` };
  });
}

/** `"$user", public` as a list of constants, whatever is in it. */
function listOf(value: string): string {
  const names = [...value.matchAll(/"((?:[^"]|"")*)"|([^,\s]+)/g)].map(
    ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? '',
  );
  return names.length === 0 ? `''` : names.map(quoteLiteral).join(', ');
}

const GRANTS_SQL = `
  SELECT 'schema' AS what, n.nspname AS schema, NULL AS table, NULL AS "column", a.* FROM pg_namespace n
    CROSS JOIN LATERAL (SELECT * FROM aclexplode(n.nspacl)) a WHERE n.nspname = ANY ($1::text[]) AND a.grantee <> n.nspowner
  UNION ALL
  SELECT 'table', n.nspname, c.relname, NULL, a.* FROM unnest($1::text[], $2::text[]) AS t(schema, name)
    JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
    CROSS JOIN LATERAL (SELECT * FROM aclexplode(c.relacl)) a WHERE a.grantee <> c.relowner
  UNION ALL
  SELECT 'column', n.nspname, c.relname, k.attname, a.* FROM unnest($1::text[], $2::text[]) AS t(schema, name)
    JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
    JOIN pg_attribute k ON k.attrelid = c.oid AND NOT k.attisdropped
    CROSS JOIN LATERAL (SELECT * FROM aclexplode(k.attacl)) a WHERE a.grantee <> c.relowner
  UNION ALL
  SELECT 'sequence', n.nspname, c.relname, NULL, a.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT * FROM aclexplode(c.relacl)) a WHERE c.relkind = 'S' AND n.nspname = ANY ($1::text[]) AND a.grantee <> c.relowner`;

interface GrantRow {
  readonly what: 'schema' | 'table' | 'column' | 'sequence';
  readonly schema: string;
  readonly table: string | null;
  readonly column: string | null;
  readonly grantee: string;
  readonly privilege: string;
  readonly grantable: boolean;
}

/** What others than its owner may do with the schemas, sequences and tables; columns under the names that `columnOf` gives. */
export async function readGrants(
  client: pg.ClientBase,
  tables: readonly GrantedTable[],
  columnOf: (table: TableName, column: string) => string,
): Promise<GlobalStatement[]> {
  const { rows } = await client.query<GrantRow>(
    `SELECT g.what, g.schema, g.table, g."column", coalesce(r.rolname, '') AS grantee, g.privilege_type AS privilege, g.is_grantable AS grantable
       FROM (${GRANTS_SQL}) g LEFT JOIN pg_roles r ON r.oid = g.grantee WHERE g.grantee = 0 OR r.oid IS NOT NULL ORDER BY 1, 2, 3, 4, 5, 6`,
    [tables.map(({ source }) => source.schema), tables.map(({ source }) => source.table)],
  );
  return rows
    .filter(({ grantee }) => !isOfTheHost(grantee))
    .flatMap((row): GlobalStatement[] => {
      const on = placeOf(row, tables);
      if (on === null) return [];
      const columns =
        row.column === null || row.table === null
          ? ''
          : ` (${quoteIdentifier(columnOf({ schema: row.schema, table: row.table }, row.column))})`;
      const to = row.grantee === '' ? 'PUBLIC' : quoteIdentifier(row.grantee);
      const option = row.grantable ? ' WITH GRANT OPTION' : '';
      return [
        { kind: 'grant', role: row.grantee, sql: `GRANT ${row.privilege}${columns} ON ${on} TO ${to}${option};` },
      ];
    });
}

/** Null for what the target has no place for. */
function placeOf({ what, schema, table }: GrantRow, tables: readonly GrantedTable[]): string | null {
  if (what === 'schema') return `SCHEMA ${quoteIdentifier(schema)}`;
  if (table === null) return null;
  if (what === 'sequence') return `SEQUENCE ${quoteTable({ schema, table })}`;
  const found = tables.find(({ source }) => source.schema === schema && source.table === table);
  return found === undefined ? null : `TABLE ${quoteTable(found.target)}`;
}
