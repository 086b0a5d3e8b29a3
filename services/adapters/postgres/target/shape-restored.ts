import type pg from 'pg';
import { isRowForRow } from '#core/rules/compile-branch.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { isMerged } from '#core/rules/table-rules.ts';
import type { TableStructure } from '#core/structure.ts';
import { quoteTable, tableKey, type TableName } from '#core/table-name.ts';
import { alterTable, readColumns } from './alter-table.ts';
import { retype } from './reshape-table.ts';
import { createEnums, createTable } from './schema-create.ts';
import { applyTableChanges, ensureSchema } from './table-change.ts';

const WHERE = "the structure's copy";

/**
 * Makes of tables that were just restored, all empty, those that the rules give; in the caller's transaction. Where a row stays a row, its
 * table is altered, so that PostgreSQL keeps what belongs to it; other tables are made from their structures. A table of the source of
 * which no such one is left goes, with the foreign keys and views that name it. Returns what was made new.
 */
export async function shapeRestored(
  client: pg.ClientBase,
  rules: readonly RuleConfig[],
  tables: readonly TableStructure[],
): Promise<TableStructure[]> {
  const wanted = new Map(tables.map((table) => [tableKey(table), table]));
  const altered = alteredBy(rules).filter((rule) => wanted.has(tableKey(targetOf(rule))));
  const staying = new Set(altered.map(({ table }) => tableKey(table)));
  for (const { table } of rules) if (!staying.has(tableKey(table))) await dropRestored(client, table);
  await applyTableChanges(client, altered);
  for (const rule of altered) {
    const to = wanted.get(tableKey(targetOf(rule)));
    if (to !== undefined) await fit(client, to);
  }
  const ruled = new Set(rules.map((rule) => tableKey(targetOf(rule))));
  for (const rule of altered) ruled.delete(tableKey(targetOf(rule)));
  const made = [...ruled].flatMap((key) => wanted.get(key) ?? []);
  for (const schema of new Set(made.map((table) => table.schema))) await ensureSchema(client, schema);
  await createEnums(client, made);
  for (const table of made) await createTable(client, table);
  await dropUnwanted(client, tables);
  return made;
}

/** The first rule of each table that leaves its rows rows; another table's rows come to no table of these. */
function alteredBy(rules: readonly RuleConfig[]): RuleConfig[] {
  const first = new Map<string, RuleConfig>();
  for (const rule of rules) {
    const key = tableKey(rule.table);
    if (!first.has(key) && isRowForRow(rule) && !isMerged(rule, rules)) first.set(key, rule);
  }
  return [...first.values()];
}

function targetOf({ rename, table }: RuleConfig): TableName {
  return rename ?? table;
}

/** Columns that a rule adds, casts or leaves out. */
async function fit(client: pg.ClientBase, to: TableStructure): Promise<void> {
  const present = await readColumns(client, to);
  for (const name of present.keys())
    if (!to.columns.some((column) => column.name === name))
      await alterTable(client, to, [{ kind: 'drop', column: name }], WHERE);
  for (const column of to.columns) {
    const type = present.get(column.name)?.type;
    if (type === undefined)
      await alterTable(client, to, [{ kind: 'add', column: column.name, fill: null, expression: null }], WHERE);
    else if (type !== column.type) await retype(client, to, column, WHERE);
  }
}

async function dropRestored(client: pg.ClientBase, table: TableName): Promise<void> {
  await client.query(`DROP TABLE IF EXISTS ${quoteTable(table)} CASCADE`);
}

/** Tables that the output does not take; partitioned tables and parents stay for their kin. */
async function dropUnwanted(client: pg.ClientBase, tables: readonly TableStructure[]): Promise<void> {
  const wanted = new Set(tables.map(tableKey));
  const { rows } = await client.query<TableName>(
    `SELECT n.nspname AS schema, c.relname AS table FROM pg_catalog.pg_class c
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'r' AND NOT c.relispartition AND c.xmin = pg_catalog.pg_current_xact_id()::pg_catalog.xid
        AND n.nspname <> 'restage' AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE c.oid IN (i.inhparent, i.inhrelid))`,
  );
  for (const table of rows) if (!wanted.has(tableKey(table))) await dropRestored(client, table);
}
