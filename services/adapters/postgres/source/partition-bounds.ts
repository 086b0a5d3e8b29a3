import type pg from 'pg';
import { tableKey, type TableName } from '#core/table-name.ts';

/** What a table is a partition of, and its bounds as pg_get_expr prints them: `FOR VALUES FROM (1) TO (10)`. */
export interface PartitionBounds {
  readonly parent: TableName;
  readonly sql: string;
}

/** By tableKey; tables that are no partitions are not in it (PostgreSQL: "pg_inherits", "pg_class", relpartbound). */
export async function readPartitionBounds(
  client: pg.ClientBase,
  tables: readonly TableName[],
): Promise<Map<string, PartitionBounds>> {
  const { rows } = await client.query<TableName & { parent_schema: string; parent: string; bounds: string }>(
    `SELECT n.nspname AS schema, c.relname AS table, pn.nspname AS parent_schema, p.relname AS parent,
            pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bounds
       FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
       JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name AND c.relispartition
       JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
       JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
       JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace`,
    [tables.map((table) => table.schema), tables.map((table) => table.table)],
  );
  return new Map(
    rows.map((row) => [tableKey(row), { parent: { schema: row.parent_schema, table: row.parent }, sql: row.bounds }]),
  );
}

/** Another text says that tables were made, dropped or renamed since, and the catalog is worth a full look. */
export async function readCatalogMark(client: pg.ClientBase): Promise<string> {
  const [row] = (
    await client.query<{ mark: string }>(
      `SELECT count(*) || ':' || coalesce(sum(pg_catalog.hashtextextended(relname::text, oid::int8 * 4294967296 + relnamespace::int8)), 0) AS mark
         FROM pg_catalog.pg_class
        WHERE relkind IN ('r', 'p') AND relpersistence = 'p'`,
    )
  ).rows;
  return row?.mark ?? '';
}
