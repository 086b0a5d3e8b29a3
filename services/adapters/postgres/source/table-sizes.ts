import type pg from 'pg';
import { tableKey, type TableName } from '#core/table-name.ts';

export interface TableSize {
  /** The planner's estimate; 0 for a table that was never analysed. */
  readonly rows: number;
  /** Of the rows, TOAST included, indexes not. */
  readonly bytes: number;
}

/** By tableKey (PostgreSQL: "pg_class", reltuples; "Database Object Size Functions"). */
export async function readTableSizes(
  client: pg.ClientBase,
  tables: readonly TableName[],
): Promise<Map<string, TableSize>> {
  const { rows } = await client.query<TableName & { rows: string; bytes: string }>(
    `SELECT n.nspname AS schema, c.relname AS table, greatest(c.reltuples, 0)::int8::text AS rows,
            pg_catalog.pg_table_size(c.oid)::text AS bytes
       FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
       JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name`,
    [tables.map((table) => table.schema), tables.map((table) => table.table)],
  );
  return new Map(rows.map((row) => [tableKey(row), { rows: Number(row.rows), bytes: Number(row.bytes) }]));
}
