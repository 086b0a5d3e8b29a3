import type pg from 'pg';
import type { Ground } from '#core/ground.ts';
import { readCatalogMark } from './partition-bounds.ts';
import { tableKey, type TableName } from '#core/table-name.ts';

/**
 * A row's version is the transaction that wrote it: kept through freezing and VACUUM FULL. A table is published by a row of its own, by
 * its schema's or by one of a partition's ancestors (PostgreSQL: "System Catalogs": pg_publication_rel, pg_publication_namespace).
 * Columns that older servers do not have are asked for through to_regclass.
 */
const TABLES_SQL = `
  WITH chosen AS (
    SELECT n.nspname AS schema, c.relname AS table, c.oid, n.oid AS namespace, c.relispartition FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      JOIN unnest($2::text[], $3::text[]) AS t(schema, name) ON t.schema = n.nspname AND t.name = c.relname),
  listed AS (
    SELECT oid, oid AS relation FROM chosen
     UNION SELECT oid, relid FROM chosen, pg_catalog.pg_partition_ancestors(chosen.oid::pg_catalog.regclass) AS relid WHERE relispartition),
  published AS (
    SELECT listed.oid, pg_catalog.string_agg(' ' || r.oid || ':' || r.xmin, '' ORDER BY r.oid) AS rows FROM listed
      JOIN pg_catalog.pg_publication_rel r ON r.prrelid = listed.relation
      JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid AND p.pubname = $1 GROUP BY listed.oid)
  SELECT schema, "table", chosen.oid::text || coalesce(published.rows, '') AS row, namespace::text
    FROM chosen LEFT JOIN published USING (oid)`;

const SCHEMAS_SQL = `
  SELECT s.pnnspid::text AS namespace, s.oid || ':' || s.xmin AS row FROM pg_catalog.pg_publication_namespace s
    JOIN pg_catalog.pg_publication p ON p.oid = s.pnpubid WHERE p.pubname = $1`;

const MARK_SQL = `
  SELECT pg_catalog.concat_ws(' ', p.oid, p.xmin,
           (SELECT pg_catalog.sum(pg_catalog.hashtextextended(r.xmin::text, r.oid::int8 * 4294967296 + r.prrelid::int8))
              FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid),
           (SELECT pg_catalog.sum(pg_catalog.hashtextextended(i.inhseqno::text, i.inhrelid::int8 * 4294967296 + i.inhparent::int8))
              FROM pg_catalog.pg_inherits i)) AS mark,
         pg_catalog.to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL AS has_schemas
    FROM pg_catalog.pg_publication p WHERE p.pubname = $1`;

/** As long as it is the same, so is what readPublicationFacts says of the same tables, which may be thousands; null where that is null. */
export async function readPublicationMark(client: pg.ClientBase, name: string): Promise<string | null> {
  const [row] = (await client.query<{ mark: string; has_schemas: boolean }>(MARK_SQL, [name])).rows;
  if (row === undefined) return null;
  const schemas = row.has_schemas
    ? (await client.query<{ namespace: string; row: string }>(SCHEMAS_SQL, [name])).rows
    : [];
  return [row.mark, ...schemas.map((schema) => schema.row).toSorted(), await readCatalogMark(client)].join(' ');
}

/** What can be told of a publication's history; null when there is none of this name. By topic, for the tables given. */
export async function readPublicationFacts(
  client: pg.ClientBase,
  name: string,
  tables: readonly (TableName & { readonly topic: string })[],
): Promise<Ground['publication']> {
  const [self] = (
    await client.query<{ row: string; has_schemas: boolean }>(
      `SELECT oid || ':' || xmin AS row, pg_catalog.to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL AS has_schemas
         FROM pg_catalog.pg_publication WHERE pubname = $1`,
      [name],
    )
  ).rows;
  if (self === undefined) return null;
  const schemas = new Map<string, string>();
  if (self.has_schemas) {
    const found = await client.query<{ namespace: string; row: string }>(SCHEMAS_SQL, [name]);
    for (const { namespace, row } of found.rows) schemas.set(namespace, row);
  }
  const { rows } = await client.query<TableName & { row: string; namespace: string }>(TABLES_SQL, [
    name,
    tables.map(({ schema }) => schema),
    tables.map(({ table }) => table),
  ]);
  const topics = new Map(tables.map((table) => [tableKey(table), table.topic]));
  const entries = rows.map((row): [string, string] => {
    const schema = schemas.get(row.namespace);
    return [topics.get(tableKey(row)) ?? '', `${row.row}${schema === undefined ? '' : ` ${schema}`}`];
  });
  return { name, self: self.row, tables: Object.fromEntries(entries) };
}

/** Those of the tables that are published as they were before, and are the tables that they were. */
export async function keepPublished<T extends TableName & { readonly topic: string }>(
  client: pg.ClientBase,
  name: string,
  tables: readonly T[],
  before: Ground['publication'],
): Promise<T[]> {
  const now = await readPublicationFacts(client, name, tables);
  return tables.filter(
    ({ topic }) => before?.tables[topic] !== undefined && before.tables[topic] === now?.tables[topic],
  );
}
