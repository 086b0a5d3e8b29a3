import type pg from 'pg';
import { TYPE_COLUMNS, TYPE_JOINS, type ValueType } from '#adapters/postgres/value-type.ts';
import { quoteIdentifier, quoteTable, type TableName } from '#core/table-name.ts';

/** A table on one side, as SQL names its parts; every name comes from that side's catalog. */
export interface TableSide {
  readonly sql: string;
  readonly oid: string;
  /** The compared columns, quoted, in the same order on both sides. */
  readonly columns: readonly string[];
  readonly key: readonly (ValueType & { readonly sql: string })[];
}

/** What one side's catalog says of a table. */
export interface FoundTable {
  readonly oid: string;
  /** For a FROM clause: a parent's rows are its own; only a partitioned table shows its children's. */
  readonly sql: string;
  readonly columns: ReadonlyMap<string, FoundColumn>;
}

export interface FoundColumn extends ValueType {
  readonly generated: boolean;
}

const PLAIN_TEXT: ValueType = { cast: 'text', isCastOtherwise: false, equals: '=' };
const FIND_SQL = `
  SELECT c.oid::text AS oid, c.relkind = 'p' AS partitioned, a.attname AS name, a.attgenerated <> '' AS generated, ${TYPE_COLUMNS}
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN (pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid ${TYPE_JOINS})
           ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
   WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')`;

/** null where there is no such table. */
export async function findTable(client: pg.ClientBase, name: TableName): Promise<FoundTable | null> {
  const { rows } = await client.query<{
    oid: string;
    partitioned: boolean;
    name: string | null;
    generated: boolean;
    cast: string;
    cast_otherwise: boolean;
    equals: string;
  }>(FIND_SQL, [name.schema, name.table]);
  const [first] = rows;
  if (first === undefined) return null;
  const columns = rows.flatMap((row): [string, FoundColumn][] => {
    if (row.name === null) return [];
    const { cast, generated, cast_otherwise: isCastOtherwise, equals } = row;
    return [[row.name, { cast, generated, isCastOtherwise, equals }]];
  });
  return {
    oid: first.oid,
    sql: `${first.partitioned ? '' : 'ONLY '}${quoteTable(name)}`,
    columns: new Map(columns),
  };
}

/** Columns and identity by their names on that side. */
export function sideOf(found: FoundTable, columns: readonly string[], key: readonly string[]): TableSide {
  return {
    sql: found.sql,
    oid: found.oid,
    columns: columns.map(quoteIdentifier),
    key: key.map((name) => ({ sql: quoteIdentifier(name), ...(found.columns.get(name) ?? PLAIN_TEXT) })),
  };
}

/** Whether a table's files are those that the session's snapshot knows: after a TRUNCATE or a rewrite it reads nothing, without an error. */
export async function isSameFile(client: pg.ClientBase, oid: string): Promise<boolean> {
  const { rows } = await client.query<{ is_same: boolean | null }>(
    `SELECT pg_catalog.bool_and(c.relfilenode = pg_catalog.pg_relation_filenode(c.oid)) AS is_same FROM pg_catalog.pg_class c
      WHERE c.relkind = 'r' AND (c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1::oid)))`,
    [oid],
  );
  // Without partitions there is no file.
  return rows[0]?.is_same !== false;
}
