import type pg from 'pg';
import { tableKey, type TableName } from '#core/table-name.ts';

/** A partition that holds rows, somewhere below a partitioned table. */
export interface Leaf extends TableName {
  readonly oid: number;
  /** pg_class.relfilenode: another one after a TRUNCATE or a rewrite. */
  readonly fileNode: string;
  /** Made as a partition, so that the stream has every row of it; false: it may have brought rows along. */
  readonly isMade: boolean;
  /** Its changes are in the WAL: neither foreign nor unlogged. */
  readonly isLogged: boolean;
  readonly mayRead: boolean;
}

/**
 * A row of pg_inherits is written by the command that made the partition, or by the one that attached it. CREATE TABLE … PARTITION OF
 * takes 3 command numbers of its transaction from the table's first row in the catalog to that row; CREATE, then ATTACH at least 6.
 */
const MADE_WITHIN_COMMANDS = 4;

const LEAVES_SQL = `
  SELECT rn.nspname AS root_schema, r.relname AS root_table, r.oid::text AS root_oid,
         n.nspname AS schema, c.relname AS table, c.oid::text AS oid, c.relfilenode::text AS file_node,
         c.relkind = 'r' AND c.relpersistence = 'p' AS logged, pg_catalog.has_table_privilege(c.oid, 'select') AS may_read,
         (SELECT pg_catalog.bool_and(i.xmin::text = a.xmin::text AND i.cmin::text::int8 - a.cmin::text::int8 BETWEEN 0 AND ${MADE_WITHIN_COMMANDS})
            FROM pg_catalog.pg_partition_ancestors(c.oid) AS up(relid)
            JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.relid
            JOIN pg_catalog.pg_attribute a ON a.attrelid = up.relid AND a.attname = 'ctid') AS made
    FROM pg_catalog.pg_class r
    JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
   CROSS JOIN LATERAL pg_catalog.pg_partition_tree(r.oid) AS tree
    JOIN pg_catalog.pg_class c ON c.oid = tree.relid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE r.relkind = 'p' AND NOT r.relispartition AND tree.isleaf AND ($1::pg_catalog.oid IS NULL OR r.oid = $1)
   ORDER BY c.oid`;

/** A partitioned table as the catalog has it now. */
export interface PartitionedTable extends TableName {
  readonly oid: number;
  readonly leaves: readonly Leaf[];
}

/** Partitioned tables with partitions, by tableKey; of all roots, or of the one with this OID. */
export async function readPartitions(
  client: pg.ClientBase,
  rootOid: number | null,
): Promise<Map<string, PartitionedTable>> {
  const { rows } = await client.query<
    TableName & {
      root_schema: string;
      root_table: string;
      root_oid: string;
      oid: string;
      file_node: string;
      logged: boolean;
      may_read: boolean;
      made: boolean | null;
    }
  >(LEAVES_SQL, [rootOid]);
  const found = new Map<string, PartitionedTable & { leaves: Leaf[] }>();
  for (const row of rows) {
    const root = { schema: row.root_schema, table: row.root_table };
    const known = found.get(tableKey(root)) ?? { ...root, oid: Number(row.root_oid), leaves: [] };
    found.set(tableKey(root), known);
    known.leaves.push({
      schema: row.schema,
      table: row.table,
      oid: Number(row.oid),
      fileNode: row.file_node,
      isMade: row.made === true,
      isLogged: row.logged,
      mayRead: row.may_read,
    });
  }
  return found;
}

/** The partitioned table at the top of a partition; null where the relation is none (any more). */
export async function readRoot(client: pg.ClientBase, oid: number): Promise<(TableName & { oid: number }) | null> {
  const [row] = (
    await client.query<TableName & { oid: string }>(
      `SELECT n.nspname AS schema, c.relname AS table, c.oid::text AS oid FROM pg_catalog.pg_class c
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = pg_catalog.pg_partition_root($1::text::pg_catalog.oid::pg_catalog.regclass) AND c.oid <> $1::text::pg_catalog.oid`,
      [String(oid)],
    )
  ).rows;
  return row === undefined ? null : { schema: row.schema, table: row.table, oid: Number(row.oid) };
}
