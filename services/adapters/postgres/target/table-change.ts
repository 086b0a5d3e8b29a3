import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { quoteIdentifier, quoteTable, tableKey, type TableName } from '#core/table-name.ts';

/** How a table's structure differs between source and target; a rule of an output is one. */
interface TableChange {
  readonly table: TableName;
  /** null keeps the name. */
  readonly rename: TableName | null;
  readonly renameColumns: ReadonlyMap<string, string>;
  readonly dropColumns: readonly string[];
}

/**
 * Alters freshly restored tables into their shape at the target; PostgreSQL itself rewrites every key, index, foreign key,
 * trigger, rule and view that names them. Every rename goes by a name that nobody uses, so that two may swap theirs.
 */
export async function applyTableChanges(client: pg.ClientBase, changes: readonly TableChange[]): Promise<void> {
  const between = `restage ${randomUUID()}`;
  const moves: { readonly from: TableName; readonly to: TableName }[] = [];
  for (const change of changes) {
    const table = quoteTable(change.table);
    for (const column of change.dropColumns)
      await client.query(`ALTER TABLE ${table} DROP COLUMN ${quoteIdentifier(column)} CASCADE`);
    const renames = [...change.renameColumns];
    for (const [index, [from]] of renames.entries()) await renameColumn(client, table, from, `${between} ${index}`);
    for (const [index, [, to]] of renames.entries()) await renameColumn(client, table, `${between} ${index}`, to);
    if (change.rename !== null && tableKey(change.rename) !== tableKey(change.table))
      moves.push({ from: change.table, to: change.rename });
  }
  for (const [index, { from }] of moves.entries())
    await client.query(`ALTER TABLE ${quoteTable(from)} RENAME TO "${between} ${index}"`);
  for (const [index, { from, to }] of moves.entries()) {
    await ensureSchema(client, to.schema);
    const moving = `${between} ${index}`;
    if (from.schema !== to.schema) {
      await client.query(
        `ALTER TABLE ${quoteTable({ schema: from.schema, table: moving })} SET SCHEMA ${quoteIdentifier(to.schema)}`,
      );
    }
    await client.query(
      `ALTER TABLE ${quoteTable({ schema: to.schema, table: moving })} RENAME TO ${quoteIdentifier(to.table)}`,
    );
  }
}

/** CREATE SCHEMA IF NOT EXISTS wants the right to create also where there is nothing to do. */
export async function ensureSchema(client: pg.ClientBase, schema: string): Promise<void> {
  const exists = await client.query('SELECT FROM pg_namespace WHERE nspname = $1', [schema]);
  if (exists.rowCount === 0) await client.query(`CREATE SCHEMA ${quoteIdentifier(schema)}`);
}

async function renameColumn(client: pg.ClientBase, table: string, from: string, to: string): Promise<void> {
  await client.query(`ALTER TABLE ${table} RENAME COLUMN ${quoteIdentifier(from)} TO ${quoteIdentifier(to)}`);
}
