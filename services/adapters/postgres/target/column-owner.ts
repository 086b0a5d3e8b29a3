import type pg from 'pg';
import type { ColumnsOf } from '#core/structure-change.ts';
import { quoteTable, tableKey, type TableName } from '#core/table-name.ts';

/** What is altered at the target where a column of a table changes. */
export interface ColumnOwner {
  /** Quoted: the table, what it is a partition of, or what it has the column from; also where a type owns the columns. */
  readonly table: string;
  readonly type: string | null;
  /** The tables, quoted, that each lose the column by themselves where it goes: those that inherit it say so in changes of their own. */
  readonly each: readonly string[];
}

const OWNERS_SQL = {
  partitioned: `SELECT format('%I.%I', n.nspname, c.relname) AS table, NULL AS type, '{}'::text[] AS each
                  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.oid = pg_partition_root(to_regclass($1)) AND $2::text IS NOT NULL`,
  type: `SELECT $1 AS table, format('%I.%I', n.nspname, t.typname) AS type, '{}'::text[] AS each FROM pg_class c JOIN pg_type t ON t.oid = c.reloftype
           JOIN pg_namespace n ON n.oid = t.typnamespace WHERE c.oid = to_regclass($1) AND $2::text IS NOT NULL`,
  inherited: `WITH RECURSIVE line(oid, depth, inherits) AS (
                SELECT a.attrelid, 0, a.attinhcount > 0 FROM pg_attribute a WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped
                UNION SELECT i.inhparent, depth + 1, p.attinhcount > 0 FROM line JOIN pg_inherits i ON i.inhrelid = line.oid
                        JOIN pg_attribute p ON p.attrelid = i.inhparent AND p.attname = $2 WHERE line.inherits),
              named AS (SELECT format('%I.%I', n.nspname, c.relname) AS name, line.depth, line.inherits
                          FROM line JOIN pg_class c ON c.oid = line.oid JOIN pg_namespace n ON n.oid = c.relnamespace)
              SELECT min(name) FILTER (WHERE NOT inherits) AS table, NULL AS type, array_agg(name ORDER BY depth DESC) AS each
                FROM named HAVING count(*) FILTER (WHERE NOT inherits) = 1`,
} as const;

/**
 * `columnsOf` is the source's: where the target alone has made a partition or an heir of the table, its kin need not change too, so its
 * columns stay its own and the server refuses. All kin change at once, as they did at the source: the statement's lock stands between
 * what was written to any of them before and after.
 */
export async function ownerOf(
  client: pg.ClientBase,
  table: TableName,
  columnsOf: ColumnsOf | null,
  column: string,
): Promise<ColumnOwner> {
  const name = quoteTable(table);
  if (columnsOf !== null) {
    const { rows } = await client.query<ColumnOwner>(OWNERS_SQL[columnsOf], [name, column]);
    if (rows[0] !== undefined) return rows[0];
  }
  const { rowCount } = await client.query(
    `SELECT FROM pg_class c JOIN pg_inherits i ON i.inhparent = c.oid WHERE c.oid = to_regclass($1) AND c.relkind = 'r'`,
    [name],
  );
  return { table: name, type: null, each: (rowCount ?? 0) > 0 ? [name] : [] };
}

export interface SharedOwner {
  readonly columnsOf: ColumnsOf;
  /** The same for all whose columns it owns. */
  readonly owner: string;
  /** Every table that it owns columns of is among those that were asked for. */
  readonly isWhole: boolean;
}

/** Of tables whose columns are shared with others, or a type's: what owns them, by tableKey. */
export async function readSharedOwners(
  client: pg.ClientBase,
  tables: readonly TableName[],
): Promise<ReadonlyMap<string, SharedOwner>> {
  const { rows } = await client.query<
    TableName & { readonly columns_of: ColumnsOf; readonly owner: string; readonly whole: boolean }
  >(
    `WITH RECURSIVE own AS (
       SELECT t.schema, t.name, c.oid, CASE WHEN c.relispartition THEN 'partitioned' WHEN c.reloftype <> 0 THEN 'type' ELSE 'inherited' END AS columns_of,
              CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::oid WHEN c.reloftype <> 0 THEN c.reloftype END AS owner
         FROM unnest($1::text[], $2::text[]) AS t(schema, name) JOIN pg_namespace n ON n.nspname = t.schema
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name WHERE c.relkind = 'r'),
     family(first, oid) AS (
       SELECT oid, oid FROM own WHERE columns_of = 'inherited'
       UNION SELECT f.first, CASE WHEN i.inhrelid = f.oid THEN i.inhparent ELSE i.inhrelid END
               FROM family f JOIN pg_inherits i ON f.oid IN (i.inhrelid, i.inhparent))
     SELECT schema, name AS table, columns_of, coalesce(owner, (SELECT min(f.oid) FROM family f WHERE f.first = own.oid))::text AS owner,
            NOT EXISTS (SELECT FROM pg_partition_tree(own.owner) tree
                         WHERE own.columns_of = 'partitioned' AND tree.isleaf AND tree.relid NOT IN (SELECT oid FROM own))
            AND NOT EXISTS (SELECT FROM pg_class o WHERE own.columns_of = 'type' AND o.reloftype = own.owner AND o.oid NOT IN (SELECT oid FROM own))
            AND NOT EXISTS (SELECT FROM family f WHERE f.first = own.oid AND f.oid NOT IN (SELECT oid FROM own)) AS whole
       FROM own WHERE own.owner IS NOT NULL OR (SELECT count(*) > 1 FROM family f WHERE f.first = own.oid)`,
    [tables.map(({ schema }) => schema), tables.map(({ table }) => table)],
  );
  return new Map(
    rows.map(({ columns_of: columnsOf, owner, whole: isWhole, ...table }) => [
      tableKey(table),
      { columnsOf, owner, isWhole },
    ]),
  );
}

/** Of a column of this owner. */
export function addColumn({ table, type }: ColumnOwner, definition: string): string {
  return type === null
    ? `ALTER TABLE ${table} ADD COLUMN ${definition}`
    : `ALTER TYPE ${type} ADD ATTRIBUTE ${definition} CASCADE`;
}

export function dropColumn({ table, type, each }: ColumnOwner, name: string): string[] {
  if (type !== null) return [`ALTER TYPE ${type} DROP ATTRIBUTE ${name} CASCADE`];
  if (each.length > 0) return each.map((one) => `ALTER TABLE ONLY ${one} DROP COLUMN ${name}`);
  return [`ALTER TABLE ${table} DROP COLUMN ${name}`];
}

export function renameColumn({ table, type }: ColumnOwner, name: string, to: string): string {
  return type === null
    ? `ALTER TABLE ${table} RENAME COLUMN ${name} TO ${to}`
    : `ALTER TYPE ${type} RENAME ATTRIBUTE ${name} TO ${to} CASCADE`;
}

/** Of tables without rows. The source found a cast where a type owns the column: it takes no USING. */
export function retypeEmpty(owner: ColumnOwner, name: string, to: string): string {
  const statement = retypeColumn(owner, name, to);
  return owner.type === null ? `${statement} USING NULL` : statement;
}

export function retypeColumn({ table, type }: ColumnOwner, name: string, to: string): string {
  return type === null
    ? `ALTER TABLE ${table} ALTER COLUMN ${name} TYPE ${to}`
    : `ALTER TYPE ${type} ALTER ATTRIBUTE ${name} TYPE ${to} CASCADE`;
}
