import type pg from 'pg';
import { tableKey, type TableName } from '#core/table-name.ts';

/**
 * The other tables whose columns change together with one's own, by its tableKey: partitions of the same table, those that inherit from one
 * another, those that are OF the same type. Tables without any are not in it.
 */
export async function readKin(
  client: pg.ClientBase,
  tables: readonly TableName[],
): Promise<ReadonlyMap<string, readonly TableName[]>> {
  const { rows } = await client.query<TableName & { readonly of_schema: string; readonly of_table: string }>(
    `WITH RECURSIVE family(schema, name, first, oid) AS (
       SELECT t.schema, t.name, c.oid, c.oid FROM unnest($1::text[], $2::text[]) AS t(schema, name)
         JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
       UNION
       SELECT f.schema, f.name, f.first, next.oid FROM family f CROSS JOIN LATERAL (
         SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = f.oid
         UNION ALL SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = f.oid
         UNION ALL SELECT o.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_class o ON o.reloftype = c.reloftype
                    WHERE c.oid = f.oid AND c.reloftype <> 0) AS next(oid))
     SELECT f.schema AS of_schema, f.name AS of_table, n.nspname AS schema, c.relname AS table
       FROM family f JOIN pg_catalog.pg_class c ON c.oid = f.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p') AND f.oid <> f.first`,
    [tables.map(({ schema }) => schema), tables.map(({ table }) => table)],
  );
  const kin = new Map<string, TableName[]>();
  for (const { of_schema, of_table, schema, table } of rows) {
    const key = tableKey({ schema: of_schema, table: of_table });
    kin.set(key, [...(kin.get(key) ?? []), { schema, table }]);
  }
  return kin;
}
