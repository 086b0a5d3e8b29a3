import type pg from 'pg';
import { tableKey, type TableName } from '#core/table-name.ts';

/** Prefix of a logical message of ours whose content is the OID of a table that has another name than before. */
export const TABLE_PREFIX = 'restage.table';

/** By tableKey; tables that are not there are not in it. */
export async function readTableOids(
  client: pg.ClientBase,
  tables: readonly TableName[],
): Promise<ReadonlyMap<string, number>> {
  const { rows } = await client.query<TableName & { oid: string }>(
    `SELECT n.nspname AS schema, c.relname AS table, c.oid::text AS oid
       FROM unnest($1::text[], $2::text[]) AS t(schema, name)
       JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
       JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name`,
    [tables.map(({ schema }) => schema), tables.map(({ table }) => table)],
  );
  return new Map(rows.map((row) => [tableKey(row), Number(row.oid)]));
}

/** The other partitions that hold rows of the partitioned table above one, by OID; none of a table that is no partition. */
export async function readSiblings(client: pg.ClientBase, table: TableName): Promise<number[]> {
  const { rows } = await client.query<{ oid: string }>(
    `SELECT tree.relid::oid::text AS oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      CROSS JOIN LATERAL pg_catalog.pg_partition_tree(pg_catalog.pg_partition_root(c.oid)) AS tree
      WHERE n.nspname = $1 AND c.relname = $2 AND c.relispartition AND tree.isleaf AND tree.relid <> c.oid`,
    [table.schema, table.table],
  );
  return rows.map(({ oid }) => Number(oid));
}

/** null for a table that is gone. */
export async function readTableName(client: pg.ClientBase, oid: number): Promise<TableName | null> {
  const { rows } = await client.query<TableName>(
    `SELECT n.nspname AS schema, c.relname AS table
       FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1`,
    [oid],
  );
  return rows[0] ?? null;
}

/** Says in the stream that a table's name is to be looked at: whatever was written of it under another one stands before. */
export async function markTable(client: pg.ClientBase, oid: number): Promise<void> {
  await client.query(`SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_logical_emit_message(true, $1, $2) END`, [
    TABLE_PREFIX,
    String(oid),
  ]);
}
