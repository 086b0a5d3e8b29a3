import * as z from 'zod';
import { RestageError } from '#core/errors.ts';
import { parseValueType, type ValueType } from '#core/rules/values/value-types.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { formatTable, tableKey, type TableName } from '#core/table-name.ts';
import { parseTableName } from '#core/table-text.ts';
import { tableTopic } from '#core/topic-names.ts';

/** What a module says of itself before the first row. */
export interface ModuleDeclaration {
  /** For messages. */
  readonly file: string;
  /** The tables of the source that it has functions for, by their key: as the module spells them. */
  readonly sources: ReadonlyMap<string, string>;
  readonly tables: readonly DeclaredTable[];
}

/** A table that a module gives. */
export interface DeclaredTable extends TableName {
  readonly key: readonly string[];
  readonly columns: readonly DeclaredColumn[];
  /** Keys of the source's tables whose changes come to it. */
  readonly from: ReadonlySet<string>;
}

export interface DeclaredColumn {
  readonly name: string;
  readonly type: ValueType;
  readonly notNull: boolean;
}

const said = z.object({
  functions: z.array(z.string()),
  tables: z.record(
    z.string(),
    z.strictObject({
      key: z.array(z.string().min(1)).min(1),
      columns: z.record(z.string().min(1), z.string()),
      from: z.array(z.string()).optional(),
    }),
  ),
});

const NOT_NULL = /\s+not\s+null\s*$/i;

/** Reads what a module's process said. @throws RestageError rule_invalid naming the module's file, and what is wrong in it. */
export function readDeclaration(raw: unknown, file: string): ModuleDeclaration {
  const parsed = said.safeParse(raw);
  if (!parsed.success)
    throw invalid(file, `its export is no transform: ${z.prettifyError(parsed.error)}`, 'docs/modules.md shows one');
  const sources = new Map<string, string>();
  for (const name of parsed.data.functions) {
    const key = tableKey(parseName(name, file));
    const twin = sources.get(key);
    if (twin !== undefined) throw invalid(file, `two functions for one table: ${twin} and ${name}`, 'make them one');
    sources.set(key, name);
  }
  if (sources.size === 0)
    throw invalid(file, 'it has no function for a table', "add one, such as 'public.orders': (change) => …");
  const tables = Object.entries(parsed.data.tables).map(([name, { key, columns, from }]): DeclaredTable => {
    const where = `${file}, tables['${name}']`;
    const declared = Object.entries(columns).map(([column, type]) => readColumn(column, type, key, where));
    const missing = key.find((column) => !declared.some((one) => one.name === column));
    if (missing !== undefined) throw invalid(where, `its key names a column that it does not have: ${missing}`);
    if (new Set(key).size < key.length) throw invalid(where, 'its key names a column twice');
    return { ...parseName(name, file), key, columns: declared, from: readFrom(from, sources, where) };
  });
  const names = tables.map(tableKey);
  const twice = tables.find((table, at) => names.indexOf(tableKey(table)) !== at);
  if (twice !== undefined) throw invalid(file, `two tables named ${formatTable(twice)}`);
  return { file, sources, tables };
}

function readColumn(name: string, text: string, key: readonly string[], where: string): DeclaredColumn {
  const type = parseValueType(text.replace(NOT_NULL, ''), `${where}.columns.${name}`);
  return { name, type, notNull: NOT_NULL.test(text) || key.includes(name) };
}

function readFrom(
  from: readonly string[] | undefined,
  sources: ReadonlyMap<string, string>,
  where: string,
): Set<string> {
  if (from === undefined) return new Set(sources.keys());
  return new Set(
    from.map((name) => {
      const key = tableKey(parseName(name, where));
      if (sources.has(key)) return key;
      throw invalid(where, `from names a table without a function: ${name}`, 'add the function, or leave it out');
    }),
  );
}

function parseName(text: string, where: string): TableName {
  const name = parseTableName(text);
  if (name !== null) return name;
  throw invalid(where, `${JSON.stringify(text)} names no table`, 'write it as schema.table');
}

function invalid(where: string, what: string, fix?: string): RestageError {
  return new RestageError('rule_invalid', `the module is not sound: ${what}`, {
    where,
    ...(fix === undefined ? {} : { fix }),
  });
}

/** As the target gets it. */
export function structureOf(table: DeclaredTable, shapedPrefix: string): TableStructure {
  const { schema, table: name, key } = table;
  return {
    schema,
    table: name,
    topic: tableTopic(shapedPrefix, table),
    columns: table.columns.map((column): ColumnStructure => ({
      ...column.type,
      name: column.name,
      notNull: column.notNull,
      generated: false,
      identity: '',
    })),
    identity: { kind: 'primaryKey', columns: key, isFull: false },
    primaryKey: key,
    uniques: [],
  };
}
