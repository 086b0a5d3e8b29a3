import type pg from 'pg';
import type { KeyLink } from '#core/key-slots.ts';
import type { TableName } from '#core/table-name.ts';
import { isTextEqualType } from './text-equality.ts';

interface LinkRow {
  readonly child_schema: string;
  readonly child_table: string;
  readonly parent_schema: string;
  readonly parent_table: string;
  readonly columns: readonly { readonly child: TypedColumn; readonly parent: TypedColumn }[];
}

interface TypedColumn {
  readonly name: string;
  readonly type: string;
  readonly kind: string;
  readonly built_in: boolean;
  readonly deterministic: boolean;
}

/** One side of a key, by its number in the table (PostgreSQL: "pg_constraint", conkey and confkey). */
const column = (side: 'conrelid' | 'confrelid', number: string): string => `(
  SELECT jsonb_build_object('name', a.attname, 'type', t.typname, 'kind', t.typtype, 'built_in', t.typnamespace = 'pg_catalog'::regnamespace,
                            'deterministic', coalesce(l.collisdeterministic, true))
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
   WHERE a.attrelid = con.${side} AND a.attnum = ${number})`;

/** Partitions have rows of their own in pg_constraint, at either end. */
const SQL = `
  WITH chosen AS (
    SELECT c.oid, t.schema, t.name FROM unnest($1::text[], $2::text[]) AS t(schema, name)
      JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
      JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name)
  SELECT child.schema AS child_schema, child.name AS child_table, parent.schema AS parent_schema, parent.name AS parent_table,
         (SELECT jsonb_agg(jsonb_build_object('child', ${column('conrelid', 'k.child')}, 'parent', ${column('confrelid', 'k.parent')}) ORDER BY k.n)
            FROM unnest(con.conkey, con.confkey) WITH ORDINALITY AS k(child, parent, n)) AS columns
    FROM pg_catalog.pg_constraint con
    JOIN chosen child ON child.oid = con.conrelid
    JOIN chosen parent ON parent.oid = con.confrelid
   WHERE con.contype = 'f'`;

/** Foreign keys whose both ends are among these tables. */
export async function readKeyLinks(client: pg.ClientBase, tables: readonly TableName[]): Promise<KeyLink[]> {
  const names = [tables.map((table) => table.schema), tables.map((table) => table.table)];
  return (await client.query<LinkRow>(SQL, names)).rows.map((row) => ({
    child: { schema: row.child_schema, table: row.child_table },
    childColumns: row.columns.map(({ child }) => child.name),
    parent: { schema: row.parent_schema, table: row.parent_table },
    parentColumns: row.columns.map(({ parent }) => parent.name),
    isExact: row.columns.every(({ child, parent }) => isTextEqualType(child) && isTextEqualType(parent)),
  }));
}
