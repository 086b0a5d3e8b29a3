import type pg from 'pg';
import { namedType, type TypeName } from '#core/structure-change.ts';
import type { ColumnStructure, JsonForm, TableStructure } from '#core/structure.ts';

/** A column's type, as the catalog says it. */
export interface ColumnType {
  readonly type: string;
  readonly modifiers: string;
  readonly typeSchema: string;
  readonly typeName: string;
  readonly element: ColumnStructure['element'] | null;
  readonly enumLabels: readonly string[] | null;
}

/** What else a column has. */
export type ColumnFacts = Pick<ColumnStructure, 'notNull' | 'generated' | 'generation' | 'identity' | 'collation'>;

export interface TypeRow {
  readonly type: string;
  readonly modifiers: string;
  readonly type_schema: string;
  readonly type_name: string;
  readonly element_schema: string | null;
  readonly element_name: string | null;
  readonly labels: string[] | null;
}

/** For a relation `a` with atttypid and atttypmod, together with TYPE_JOINS. */
export const TYPE_COLUMNS = `pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
         CASE WHEN a.atttypmod >= 0 THEN coalesce(substring(pg_catalog.format_type(a.atttypid, a.atttypmod) from '\\(([^()]*)\\)(?:[^()"]*)$'), '') ELSE '' END AS modifiers,
         tn.nspname AS type_schema, t.typname AS type_name, en.nspname AS element_schema, et.typname AS element_name,
         (SELECT pg_catalog.array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e
           WHERE e.enumtypid IN (t.oid, t.typelem)) AS labels`;

export const TYPE_JOINS = `LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_type et ON et.oid = t.typelem AND et.typarray = t.oid
    LEFT JOIN pg_catalog.pg_namespace en ON en.oid = et.typnamespace`;

/** Named, so that a session plans it once: it is asked for each table. */
const TYPES = {
  name: 'restage_types',
  text: `SELECT t.oid IS NOT NULL AS known, ${TYPE_COLUMNS}
           FROM unnest($1::pg_catalog.oid[], $2::int[]) WITH ORDINALITY AS a(atttypid, atttypmod, n) ${TYPE_JOINS} ORDER BY a.n`,
};

/** Types by number and modifier, in their order; null for one that is gone. */
export async function readTypes(
  client: pg.ClientBase,
  columns: readonly { readonly typeOid: number; readonly typeModifier: number }[],
): Promise<(ColumnType | null)[]> {
  const { rows } = await client.query<TypeRow & { known: boolean }>({
    ...TYPES,
    values: [columns.map(({ typeOid }) => typeOid), columns.map(({ typeModifier }) => typeModifier)],
  });
  return rows.map((row) => (row.known ? typeOf(row) : null));
}

/** Which types of a table's columns are no longer there by their names, of those that its newer columns do not have. */
export async function findGoneTypes(
  client: pg.ClientBase,
  before: TableStructure,
  after: TableStructure,
): Promise<(type: TypeName) => boolean> {
  const key = ({ schema, name }: TypeName): string => JSON.stringify([schema, name]);
  const kept = new Set(after.columns.map(namedType).map(key));
  const lost = before.columns.map(namedType).filter((type) => !kept.has(key(type)));
  if (lost.length === 0) return () => false;
  const { rows } = await client.query<TypeName>(
    `SELECT asked.schema, asked.name FROM unnest($1::text[], $2::text[]) AS asked(schema, name)
      WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
                         WHERE n.nspname = asked.schema AND t.typname = asked.name)`,
    [lost.map(({ schema }) => schema), lost.map(({ name }) => name)],
  );
  const gone = new Set(rows.map(key));
  return (type) => gone.has(key(type));
}

export function typeOf(row: TypeRow): ColumnType {
  return {
    type: row.type,
    modifiers: row.modifiers,
    typeSchema: row.type_schema,
    typeName: row.type_name,
    element:
      row.element_schema === null || row.element_name === null
        ? null
        : { schema: row.element_schema, name: row.element_name },
    enumLabels: row.labels,
  };
}

/** The one place that makes a column: a structure's version is a hash of its text, so the order of the properties counts. */
export function makeColumn(name: string, type: ColumnType, facts: ColumnFacts): ColumnStructure {
  const { element } = type;
  return {
    name,
    type: type.type,
    typeSchema: type.typeSchema,
    typeName: type.typeName,
    modifiers: type.modifiers,
    json: jsonForm(type.typeSchema, type.typeName),
    notNull: facts.notNull,
    generated: facts.generated,
    ...(element === null || element === undefined ? {} : { element }),
    ...(facts.generation === undefined ? {} : { generation: facts.generation }),
    identity: facts.identity,
    ...(facts.collation === undefined ? {} : { collation: facts.collation }),
    enumLabels: type.enumLabels,
  };
}

function jsonForm(schema: string, type: string): JsonForm {
  if (schema !== 'pg_catalog') return 'text';
  if (type === 'bool') return 'boolean';
  return type === 'int2' || type === 'int4' ? 'integer' : 'text';
}
