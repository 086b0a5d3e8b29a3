import type pg from 'pg';
import type { TableStructure } from '#core/structure.ts';

interface FactRow {
  readonly schema: string;
  readonly table: string;
  readonly name: string;
  readonly expression: string | null;
  readonly base_name: string | null;
  readonly base_modifiers: string | null;
  readonly base_labels: string[] | null;
}

/** Defaults of columns that are not generated, and domains down to their base type, with the modifiers that it was given on the way. */
const FACTS_SQL = `
  WITH RECURSIVE domain AS (
    SELECT t.oid AS domain, t.typbasetype AS base, t.typtypmod AS typmod FROM pg_catalog.pg_type t WHERE t.typtype = 'd'
    UNION ALL
    SELECT d.domain, t.typbasetype, CASE WHEN d.typmod >= 0 THEN d.typmod ELSE t.typtypmod END
      FROM domain d JOIN pg_catalog.pg_type t ON t.oid = d.base WHERE t.typtype = 'd')
  SELECT n.nspname AS schema, c.relname AS table, a.attname AS name,
         CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END AS expression,
         b.typname AS base_name,
         CASE WHEN o.typmod >= 0 THEN substring(pg_catalog.format_type(b.oid, o.typmod) from '\\(([^()]*)\\)') END AS base_modifiers,
         (SELECT pg_catalog.array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = b.oid) AS base_labels
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN domain o ON o.domain = a.atttypid AND NOT EXISTS (SELECT FROM pg_catalog.pg_type x WHERE x.oid = o.base AND x.typtype = 'd')
    LEFT JOIN pg_catalog.pg_type b ON b.oid = o.base AND b.typelem = 0
   WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest($1::text[], $2::text[]))
     AND (d.adbin IS NOT NULL OR b.oid IS NOT NULL)`;

/** The structures with what profile `debezium` needs beside: columns' defaults and domains' base types. */
export async function addColumnFacts(
  client: pg.ClientBase,
  structures: readonly TableStructure[],
): Promise<TableStructure[]> {
  const schemas = structures.map(({ schema }) => schema);
  const tables = structures.map(({ table }) => table);
  const { rows } = await client.query<FactRow>(FACTS_SQL, [schemas, tables]);
  const facts = new Map(rows.map((row) => [JSON.stringify([row.schema, row.table, row.name]), row]));
  return structures.map((structure) => ({
    ...structure,
    columns: structure.columns.map((column) => {
      const fact = facts.get(JSON.stringify([structure.schema, structure.table, column.name]));
      if (fact === undefined) return column;
      const { expression, base_name: name, base_modifiers: modifiers, base_labels: labels } = fact;
      return {
        ...column,
        ...(name === null ? {} : { base: { name, modifiers: modifiers ?? '', labels } }),
        ...(expression === null ? {} : { default: expression }),
      };
    }),
  }));
}
