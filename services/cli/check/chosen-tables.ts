import type { TableName } from '#core/table-name.ts';

/** The chosen tables with their catalog rows, `t`, `n` and `c`; `namesOf` gives $1 and $2. */
export const CHOSEN = `FROM unnest($1::text[], $2::text[]) AS t(schema, name)
  JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name`;

export function namesOf(tables: readonly TableName[]): [schemas: string[], names: string[]] {
  return [tables.map((table) => table.schema), tables.map((table) => table.table)];
}
