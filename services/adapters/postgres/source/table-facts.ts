import type pg from 'pg';
import type { AddedColumn, SourceShape } from '#core/structure-change.ts';
import { tableKey, type TableName } from '#core/table-name.ts';

/**
 * What the catalog says now of a table that is captured; it may be ahead of the stream. A partitioned table has no rows and so no values
 * of its own for older ones: its partitions say them.
 */
export interface TableFacts extends SourceShape {
  readonly columns: ReadonlyMap<string, ColumnFacts>;
}

export interface ColumnFacts extends AddedColumn {
  /** Rows from before the column have a value of the catalog's: nothing has rewritten them since (PostgreSQL: "pg_attribute"). */
  readonly hasMissing: boolean;
}

const FACTS_SQL = `
  SELECT n.nspname AS schema, c.relname AS table, c.oid::text AS oid, coalesce(leaves.files, c.relfilenode::text) AS file_node, a.attname AS name, a.attnum AS number,
         coalesce(held.has_missing, a.atthasmissing) AS has_missing,
         (coalesce(held.missing, a.attmissingval)::text::text[])[1] AS missing,
         CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END AS expression
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN LATERAL (
      SELECT pg_catalog.string_agg(p.oid::text || ':' || p.relfilenode::text, ',' ORDER BY p.oid) AS files, pg_catalog.array_agg(p.oid) AS oids
        FROM pg_catalog.pg_partition_tree(c.oid) AS tree JOIN pg_catalog.pg_class p ON p.oid = tree.relid
       WHERE c.relkind = 'p' AND NOT c.relispartition AND tree.isleaf) AS leaves ON c.relkind = 'p'
    LEFT JOIN LATERAL (
      SELECT true AS has_missing, l.attmissingval AS missing FROM pg_catalog.pg_attribute l
       WHERE l.attrelid = ANY (leaves.oids) AND l.attname = a.attname AND l.atthasmissing LIMIT 1) AS held ON true
   WHERE c.relkind IN ('r', 'p') AND ($1::pg_catalog.oid IS NULL OR c.oid = $1)
   ORDER BY a.attnum`;

interface FactsRow extends TableName {
  readonly oid: string;
  readonly file_node: string;
  readonly name: string | null;
  readonly number: number;
  readonly has_missing: boolean;
  readonly missing: string | null;
  readonly expression: string | null;
}

/** By tableKey: of every table, or of the one with this OID where it is still there. */
export async function readTableFacts(client: pg.ClientBase, oid: number | null): Promise<Map<string, TableFacts>> {
  const { rows } = await client.query<FactsRow>(FACTS_SQL, [oid]);
  const found = new Map<string, TableFacts & { numbers: Map<string, number>; columns: Map<string, ColumnFacts> }>();
  for (const row of rows) {
    const facts = found.get(tableKey(row)) ?? {
      oid: Number(row.oid),
      fileNode: row.file_node,
      numbers: new Map(),
      columns: new Map(),
    };
    found.set(tableKey(row), facts);
    if (row.name === null) continue;
    facts.numbers.set(row.name, row.number);
    const { has_missing: hasMissing, missing, expression } = row;
    facts.columns.set(row.name, { hasMissing, missing, expression });
  }
  return found;
}
