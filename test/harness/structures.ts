import type { ColumnStructure, TableStructure } from '#core/structure.ts';

/** A table of `public` whose first column, `id`, is its key; its topic is `<prefix>.public.<name>`. */
export function makeTable(prefix: string, name: string, columns: readonly ColumnStructure[]): TableStructure {
  return {
    schema: 'public',
    table: name,
    topic: `${prefix}.public.${name}`,
    columns,
    primaryKey: ['id'],
    uniques: [],
    identity: { kind: 'full', columns: ['id'], isFull: true },
  };
}

/** A plain column of a built-in type. */
export function makeColumn(name: string, typeName: string, more: Partial<ColumnStructure> = {}): ColumnStructure {
  return {
    name,
    typeName,
    type: typeName,
    json: typeName === 'int4' ? 'integer' : 'text',
    typeSchema: 'pg_catalog',
    modifiers: '',
    notNull: false,
    generated: false,
    identity: '',
    enumLabels: null,
    ...more,
  };
}
