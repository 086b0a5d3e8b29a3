import { createHash } from 'node:crypto';
import type pg from 'pg';
import type { Failpoints } from '#core/failpoints.ts';
import { RestageError } from '#core/errors.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { formatTable, quoteIdentifier, quoteLiteral, quoteTable } from '#core/table-name.ts';
import type { TargetSchema } from '#core/target-schema.ts';
import type { SchemaBuild } from './schema-build.ts';
import { SchemaJournal, type BuildStep } from './schema-journal.ts';
import { ensureSchema } from './table-change.ts';
import { requireAbsent, requireFitting } from './target-tables.ts';

export interface SchemaCreateOptions {
  readonly pipeline: string;
  readonly connect: () => Promise<pg.Client>;
  readonly failpoints: Failpoints;
}

/** PostgreSQL: "Identifiers and Key Words". */
const LONGEST_NAME = 63;

/**
 * `schema: create`: tables made from the captured structure alone, where no fitting pg_dump is at hand. Columns with their
 * types, NOT NULL and identity, generated columns with their expressions, for events carry no values of theirs, enum types,
 * primary keys and unique indexes. Defaults, checks, foreign keys, functions and triggers are not in events, so not in the target.
 */
export class SchemaCreate implements TargetSchema {
  readonly makesTables = true;
  readonly #options: SchemaCreateOptions;
  readonly #build: SchemaBuild;

  constructor(options: SchemaCreateOptions, build: SchemaBuild) {
    this.#options = options;
    this.#build = build;
  }

  async preData(tables: TableStructure[]): Promise<void> {
    const client = await this.#options.connect();
    try {
      const journal = new SchemaJournal(client, this.#options.pipeline);
      if (await journal.isPreDataDone()) {
        await requireFitting(client, tables);
        return;
      }
      await requireAbsent(client, tables);
      await journal.create();
      await client.query('BEGIN');
      for (const schema of new Set(tables.map((table) => table.schema))) await ensureSchema(client, schema);
      await createEnums(client, tables);
      for (const table of tables) await createTable(client, table);
      await journal.finishPreData(tables.flatMap(keySteps), {
        how: 'create',
        tables: tables.map(({ schema, table }) => ({ schema, table })),
      });
      this.#options.failpoints.hit('sink.preData.before');
      await client.query('COMMIT');
      this.#options.failpoints.hit('sink.preData.after');
    } finally {
      await client.end();
    }
  }

  postLoad(): Promise<void> {
    return this.#build.postLoad();
  }

  whenCaughtUp(): Promise<void> {
    return this.#build.whenCaughtUp();
  }
}

/** A column's type for SQL: quoted names from the structure, modifiers only when they are plain numbers. */
export function typeSql(column: ColumnStructure): string {
  const isArray = column.element !== undefined;
  const type = elementSql(column);
  const fields = type === '"pg_catalog"."interval"' ? intervalFields(column.type) : '';
  const modifiers = /^[0-9, -]+$/.test(column.modifiers) ? `(${column.modifiers})` : '';
  return fields === '' ? `${type}${modifiers}${isArray ? '[]' : ''}` : `${fields}${isArray ? '[]' : ''}`;
}

/** `interval day to second(3)` keeps its fields, which no modifier in parentheses tells; and only the bare word takes one at all. */
function intervalFields(type: string): string {
  const plain = type.replace(/(?:\[\])+$/, '');
  return /^interval(?: (?:year|month|day|hour|minute|second)(?: to (?:month|hour|minute|second))?)?(?:\([0-6]\))?$/.test(
    plain,
  )
    ? plain
    : '';
}

/** Enum types that the target lacks, with their schemas. */
export async function createEnums(client: pg.ClientBase, tables: readonly TableStructure[]): Promise<void> {
  const enums = new Map<string, ColumnStructure>();
  for (const column of tables.flatMap((table) => table.columns)) {
    if (column.enumLabels !== null) enums.set(elementSql(column), column);
  }
  for (const [name, column] of enums) {
    await ensureSchema(client, column.element?.schema ?? column.typeSchema);
    const exists = await client.query('SELECT FROM pg_catalog.pg_type WHERE oid = to_regtype($1)', [name]);
    if (exists.rowCount === 0)
      await client.query(`CREATE TYPE ${name} AS ENUM (${(column.enumLabels ?? []).map(quoteLiteral).join(', ')})`);
  }
}

/** The type itself, or that of an array's elements. */
function elementSql(column: ColumnStructure): string {
  const { schema, name } = column.element ?? { schema: column.typeSchema, name: column.typeName };
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}

/** The expression is the source's own words, as pg_dump would write it. The extended protocol takes one statement only, so it stays one. */
function generationSql({ generation }: ColumnStructure): string {
  return generation === undefined
    ? ''
    : ` GENERATED ALWAYS AS (${generation.expression}) ${generation.kind.toUpperCase()}`;
}

export async function createTable(client: pg.ClientBase, table: TableStructure): Promise<void> {
  const columns = table.columns.map((column) => {
    const identity = {
      '': '',
      always: ' GENERATED ALWAYS AS IDENTITY',
      byDefault: ' GENERATED BY DEFAULT AS IDENTITY',
    }[column.identity];
    return `${quoteIdentifier(column.name)} ${typeSql(column)}${generationSql(column)}${column.notNull ? ' NOT NULL' : ''}${identity}`;
  });
  try {
    const statement: pg.QueryConfig & { queryMode: 'extended' } = {
      text: `CREATE TABLE ${quoteTable(table)} (${columns.join(', ')})`,
      queryMode: 'extended',
    };
    await client.query(statement);
  } catch (cause) {
    throw new RestageError(
      'schema_missing',
      `cannot create ${formatTable(table)}: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        where: `columns ${table.columns.map((column) => `${column.name} ${column.type}`).join(', ')}`,
        fix: 'create the missing type or extension at the target, or set schema: copy',
        cause,
      },
    );
  }
}

export function keySteps(table: TableStructure): BuildStep[] {
  const name = { schema: table.schema, table: table.table };
  const isDeferrable = (key: readonly string[]): boolean =>
    table.deferrable?.some((other) => JSON.stringify(other) === JSON.stringify(key)) ?? false;
  const steps = distinct(table.uniques).map((unique): BuildStep => {
    if (isDeferrable(unique)) {
      const sql = `ALTER TABLE ${quoteTable(table)} ADD UNIQUE (${columnList(unique)}) DEFERRABLE`;
      return { phase: 'key', table: name, name: '', sql };
    }
    const index = indexName(table, unique);
    const sql = `CREATE UNIQUE INDEX ${quoteIdentifier(index)} ON ${quoteTable(table)} (${columnList(unique)})`;
    return { phase: 'index', table: name, name: index, sql };
  });
  if (table.primaryKey.length > 0) {
    steps.push({
      phase: 'key',
      table: name,
      name: '',
      sql: `ALTER TABLE ${quoteTable(table)} ADD PRIMARY KEY (${columnList(table.primaryKey)})${isDeferrable(table.primaryKey) ? ' DEFERRABLE' : ''}`,
    });
  }
  return steps;
}

function distinct(keys: readonly (readonly string[])[]): (readonly string[])[] {
  return [...new Map(keys.map((key) => [JSON.stringify(key), key])).values()];
}

/** Ours, because the names that the server makes up may be the same in two sessions that build at once. */
function indexName(table: TableStructure, columns: readonly string[]): string {
  const hash = createHash('sha256')
    .update(JSON.stringify([table.table, columns]))
    .digest('hex')
    .slice(0, 8);
  let name = '';
  for (const character of `${table.table}_${columns.join('_')}`) {
    if (Buffer.byteLength(name + character) > LONGEST_NAME - `_${hash}_key`.length) break;
    name += character;
  }
  return `${name}_${hash}_key`;
}

function columnList(columns: readonly string[]): string {
  return columns.map(quoteIdentifier).join(', ');
}
