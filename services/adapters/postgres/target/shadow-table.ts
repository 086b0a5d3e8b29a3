import { createHash } from 'node:crypto';
import type pg from 'pg';
import type { ColumnsOf } from '#core/structure-change.ts';
import type { TableStructure } from '#core/structure.ts';
import { quoteIdentifier, quoteTable, tableKey } from '#core/table-name.ts';
import { castText } from '../value-type.ts';
import { readSharedOwners } from './column-owner.ts';
import { reshapeTable, type Reshaping } from './reshape-table.ts';
import { readTargetTable } from './target-table.ts';

/** Where a late load's rows of a table wait for their place in the stream, in SQL; one a pipeline and topic. */
export function shadowOf(pipeline: string, topic: string): string {
  const hash = createHash('sha256')
    .update(JSON.stringify([pipeline, topic]))
    .digest('hex')
    .slice(0, 16);
  return quoteTable({ schema: 'restage', table: `late_${hash}` });
}

/** Generated columns are computed at the target. */
export function plainColumns(structure: TableStructure): string[] {
  return structure.columns.filter((column) => !column.generated).map((column) => column.name);
}

/** Empty, with the columns of the captured structure as text: whether the target's types take the values shows when they move. */
export async function makeShadow(client: pg.ClientBase, pipeline: string, structure: TableStructure): Promise<void> {
  const shadow = shadowOf(pipeline, structure.topic);
  const columns = plainColumns(structure).map((name) => `${quoteIdentifier(name)} text`);
  await client.query(`DROP TABLE IF EXISTS ${shadow}`);
  await client.query(`CREATE TABLE ${shadow} (${columns.join(', ')})`);
}

/** The shadow's rows into the target's table, which the caller has emptied and altered; in its transaction. */
async function moveShadow(client: pg.ClientBase, pipeline: string, structure: TableStructure): Promise<void> {
  const table = await readTargetTable(client, structure);
  const names = plainColumns(structure);
  const values = names.map((name) => {
    const column = table.columns.get(name);
    const text = quoteIdentifier(name);
    return column === undefined ? text : castText(column, text);
  });
  const list = names.length === 0 ? '' : ` (${names.map(quoteIdentifier).join(', ')})`;
  const overriding = table.hasAlwaysIdentity ? ' OVERRIDING SYSTEM VALUE' : '';
  const shadow = shadowOf(pipeline, structure.topic);
  await client.query(`INSERT INTO ${table.sql}${list}${overriding} SELECT ${values.join(', ')} FROM ${shadow}`);
}

/**
 * The target's rows for the shadows', whatever columns either has; in the caller's transaction. All are emptied before any is altered:
 * the columns of one may be those of others. Returns those whose columns are altered with others' that have rows: where the stream has
 * done that, fillTable brings their rows.
 */
export async function exchangeShadows(
  client: pg.ClientBase,
  pipeline: string,
  shapes: readonly Reshaping[],
): Promise<readonly Reshaping[]> {
  for (const { to } of shapes) {
    const { only } = await readTargetTable(client, { ...to, columns: [], identity: { ...to.identity, columns: [] } });
    await client.query(`DELETE FROM ${only}`);
  }
  const owners = await readSharedOwners(
    client,
    shapes.map(({ to }) => to),
  );
  const waiting = shapes.filter(({ to }) => owners.get(tableKey(to))?.isWhole === false);
  for (const shape of shapes.filter((one) => !waiting.includes(one))) {
    const shared = owners.get(tableKey(shape.to)) ?? null;
    // A partition that is new has the columns that the others had.
    const kin = shapes.filter(({ to }) => shared !== null && owners.get(tableKey(to))?.owner === shared.owner);
    const earlier = shared === null ? shape.earlier : kin.flatMap((one) => one.earlier);
    await fillTable(client, pipeline, { ...shape, earlier }, shared?.columnsOf ?? null);
  }
  return waiting;
}

/**
 * An emptied table gets its shadow's columns and rows; `columnsOf` as reshapeTable has it. @throws RestageError ddl_unsupported, of one that
 * waited where the stream does not tell what became of its columns.
 */
export async function fillTable(
  client: pg.ClientBase,
  pipeline: string,
  shape: Reshaping,
  columnsOf: ColumnsOf | null = null,
): Promise<void> {
  await reshapeTable(client, shape, columnsOf);
  await moveShadow(client, pipeline, shape.to);
}

export async function dropShadow(client: pg.ClientBase, pipeline: string, topic: string): Promise<void> {
  await client.query(`DROP TABLE IF EXISTS ${shadowOf(pipeline, topic)}`);
}
