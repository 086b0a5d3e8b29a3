import type pg from 'pg';
import type { ColumnsOf } from '#core/structure-change.ts';
import { quoteTable, tableKey, type TableName } from '#core/table-name.ts';

/** What is altered at the target where a table's columns change: the table, what it is a partition of, or the type that it is OF. */
export interface ColumnOwner {
  /** Quoted; also where a type owns the columns. */
  readonly table: string;
  readonly type: string | null;
}

/**
 * `columnsOf` is the source's: where the target alone has made a partition of the table, its kin need not change too, so its columns stay its
 * own and the server refuses. All partitions change at once, as they did at the source: the statement's lock stands between
 * what was written to any of them before and after.
 */
export async function ownerOf(
  client: pg.ClientBase,
  table: TableName,
  columnsOf: ColumnsOf | null,
): Promise<ColumnOwner> {
  const own = { table: quoteTable(table), type: null };
  if (columnsOf === null) return own;
  const { rows } = await client.query<ColumnOwner>(
    columnsOf === 'partitioned'
      ? `SELECT format('%I.%I', n.nspname, c.relname) AS table, NULL AS type FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.oid = pg_partition_root(to_regclass($1))`
      : `SELECT $1 AS table, format('%I.%I', n.nspname, t.typname) AS type FROM pg_class c JOIN pg_type t ON t.oid = c.reloftype
           JOIN pg_namespace n ON n.oid = t.typnamespace WHERE c.oid = to_regclass($1)`,
    [own.table],
  );
  return rows[0] ?? own;
}

export interface SharedOwner {
  readonly columnsOf: ColumnsOf;
  /** The same for all whose columns it owns. */
  readonly owner: string;
}

/**
 * Of tables that are altered at once, while none of them has rows: what owns their columns, by tableKey, where every table that it owns
 * columns of is among them. Others keep theirs, and the server refuses.
 */
export async function readSharedOwners(
  client: pg.ClientBase,
  tables: readonly TableName[],
): Promise<ReadonlyMap<string, SharedOwner>> {
  const { rows } = await client.query<TableName & { readonly columns_of: ColumnsOf; readonly owner: string }>(
    `WITH own AS (
       SELECT t.schema, t.name, c.oid, CASE WHEN c.relispartition THEN 'partitioned' ELSE 'type' END AS columns_of,
              CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::oid ELSE c.reloftype END AS owner
         FROM unnest($1::text[], $2::text[]) AS t(schema, name) JOIN pg_namespace n ON n.nspname = t.schema
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name WHERE c.relispartition OR c.reloftype <> 0)
     SELECT schema, name AS table, columns_of, owner::text FROM own
      WHERE NOT EXISTS (SELECT FROM pg_partition_tree(own.owner) tree
                         WHERE own.columns_of = 'partitioned' AND tree.isleaf AND tree.relid NOT IN (SELECT oid FROM own))
        AND NOT EXISTS (SELECT FROM pg_class o WHERE own.columns_of = 'type' AND o.reloftype = own.owner AND o.oid NOT IN (SELECT oid FROM own))`,
    [tables.map(({ schema }) => schema), tables.map(({ table }) => table)],
  );
  return new Map(rows.map(({ columns_of: columnsOf, owner, ...table }) => [tableKey(table), { columnsOf, owner }]));
}

/** Of a column of this owner. */
export function addColumn({ table, type }: ColumnOwner, definition: string): string {
  return type === null
    ? `ALTER TABLE ${table} ADD COLUMN ${definition}`
    : `ALTER TYPE ${type} ADD ATTRIBUTE ${definition} CASCADE`;
}

export function dropColumn({ table, type }: ColumnOwner, name: string): string {
  return type === null
    ? `ALTER TABLE ${table} DROP COLUMN ${name}`
    : `ALTER TYPE ${type} DROP ATTRIBUTE ${name} CASCADE`;
}

export function renameColumn({ table, type }: ColumnOwner, name: string, to: string): string {
  return type === null
    ? `ALTER TABLE ${table} RENAME COLUMN ${name} TO ${to}`
    : `ALTER TYPE ${type} RENAME ATTRIBUTE ${name} TO ${to} CASCADE`;
}

/** Of tables without rows. The source found a cast where a type owns the column: it takes no USING. */
export function retypeEmpty({ table, type }: ColumnOwner, name: string, to: string): string {
  return type === null
    ? `ALTER TABLE ${table} ALTER COLUMN ${name} TYPE ${to} USING NULL`
    : retypeColumn({ table, type }, name, to);
}

export function retypeColumn({ table, type }: ColumnOwner, name: string, to: string): string {
  return type === null
    ? `ALTER TABLE ${table} ALTER COLUMN ${name} TYPE ${to}`
    : `ALTER TYPE ${type} ALTER ATTRIBUTE ${name} TYPE ${to} CASCADE`;
}
