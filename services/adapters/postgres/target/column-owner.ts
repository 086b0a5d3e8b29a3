import type pg from 'pg';
import type { ColumnsOf } from '#core/structure-change.ts';
import { quoteTable, type TableName } from '#core/table-name.ts';

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

export function retypeColumn({ table, type }: ColumnOwner, name: string, to: string): string {
  return type === null
    ? `ALTER TABLE ${table} ALTER COLUMN ${name} TYPE ${to}`
    : `ALTER TYPE ${type} ALTER ATTRIBUTE ${name} TYPE ${to} CASCADE`;
}
