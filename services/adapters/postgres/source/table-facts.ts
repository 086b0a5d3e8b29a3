import type pg from 'pg';
import type { AddedColumn, ColumnsOf, SourceShape } from '#core/structure-change.ts';
import { tableKey, type TableName } from '#core/table-name.ts';

/**
 * What the catalog says now of a table that is captured; it may be ahead of the stream. A partitioned table has no rows and so no values
 * of its own for older ones: its partitions say them.
 */
export interface TableFacts extends SourceShape {
  readonly columns: ReadonlyMap<string, ColumnFacts>;
  /** null: they are the table's own. */
  readonly columnsOf: ColumnsOf | null;
}

export interface ColumnFacts extends AddedColumn {
  /** Rows from before the column have a value of the catalog's: nothing has rewritten them since (PostgreSQL: "pg_attribute"). */
  readonly hasMissing: boolean;
  /** Of a generated column, else null. */
  readonly computed: ComputedFacts | null;
}

export interface ComputedFacts {
  /** The columns that its expression names. */
  readonly reads: readonly string[];
  /** 32-bit numbers of the transactions that last wrote its rows of the catalog. */
  readonly writtenBy: readonly number[];
}

const factsSql = (which: string): string => `
  SELECT n.nspname AS schema, c.relname AS table, c.oid::text AS oid, coalesce(leaves.files, c.relfilenode::text) AS file_node,
         (SELECT pg_catalog.md5(pg_catalog.string_agg(w.attnum || ':' || w.xmin, ',' ORDER BY w.attnum)) FROM pg_catalog.pg_attribute w
           WHERE w.attrelid = c.oid AND w.attnum > 0) AS attributes,
         CASE WHEN c.relispartition THEN 'partitioned' WHEN c.reloftype <> 0 THEN 'type'
              WHEN EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid) THEN 'inherited' END AS columns_of, a.attname AS name, a.attnum AS number,
         coalesce(held.has_missing, a.atthasmissing) AS has_missing,
         (coalesce(held.missing, a.attmissingval)::text::text[])[1] AS missing,
         CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END AS expression,
         CASE WHEN a.attgenerated <> '' THEN ARRAY[a.xmin, d.xmin]::text[] END AS written_by,
         CASE WHEN a.attgenerated <> '' THEN ARRAY(
           SELECT r.attname::text FROM pg_catalog.pg_depend p
             JOIN pg_catalog.pg_attribute r ON r.attrelid = p.refobjid AND r.attnum = p.refobjsubid
            WHERE (p.classid, p.objid, p.objsubid) IN (('pg_catalog.pg_attrdef'::pg_catalog.regclass, d.oid, 0), ('pg_catalog.pg_class'::pg_catalog.regclass, c.oid, a.attnum))
              AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.refobjid = c.oid AND p.refobjsubid NOT IN (0, a.attnum)) END AS reads
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
   WHERE c.relkind IN ('r', 'p') AND ${which}
   ORDER BY a.attnum`;

const OF_ALL = { text: factsSql('true') };
/** Named, so that a session plans it once. */
const OF_ONE = { name: 'restage_table_facts', text: factsSql('c.oid = $1') };

interface FactsRow extends TableName {
  readonly oid: string;
  readonly file_node: string;
  readonly attributes: string | null;
  readonly columns_of: ColumnsOf | null;
  readonly name: string | null;
  readonly number: number;
  readonly has_missing: boolean;
  readonly missing: string | null;
  readonly expression: string | null;
  readonly written_by: string[] | null;
  readonly reads: string[] | null;
}

/** By tableKey: of every table, or of the one with this OID where it is still there. */
export async function readTableFacts(client: pg.ClientBase, oid: number | null): Promise<Map<string, TableFacts>> {
  const { rows } = await client.query<FactsRow>(oid === null ? OF_ALL : { ...OF_ONE, values: [oid] });
  const found = new Map<string, TableFacts & { numbers: Map<string, number>; columns: Map<string, ColumnFacts> }>();
  for (const row of rows) {
    const facts = found.get(tableKey(row)) ?? {
      oid: Number(row.oid),
      fileNode: row.file_node,
      attributes: row.attributes,
      numbers: new Map(),
      columns: new Map(),
      columnsOf: row.columns_of,
    };
    found.set(tableKey(row), facts);
    if (row.name === null) continue;
    facts.numbers.set(row.name, row.number);
    const { has_missing: hasMissing, missing, expression, reads, written_by: writtenBy } = row;
    const computed = reads === null || writtenBy === null ? null : { reads, writtenBy: writtenBy.map(Number) };
    facts.columns.set(row.name, { hasMissing, missing, expression, computed });
  }
  return found;
}
