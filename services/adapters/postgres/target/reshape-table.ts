import type pg from 'pg';
import type { ColumnChange, ColumnsOf } from '#core/structure-change.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { alterTable, readColumns, run } from './alter-table.ts';
import { ownerOf, retypeEmpty } from './column-owner.ts';
import { createEnums, typeSql } from './schema-create.ts';

/** The structure that a table's new rows have, and all that its earlier rows had. */
export interface Reshaping {
  readonly to: TableStructure;
  readonly earlier: readonly TableStructure[];
  /** For messages: the place in the stream. */
  readonly where: string;
}

/**
 * Makes of an emptied table one that takes rows of another structure; in the caller's transaction. Only what changed at the source
 * changes here: a column or type that the target has of its own stays. One column that is gone and one of its type that is new are one
 * that was renamed, so that its keys stay. `columnsOf`: what is altered in its place, where all that has columns of it is empty.
 * @throws RestageError ddl_unsupported with the statement that the target refused.
 */
export async function reshapeTable(
  client: pg.ClientBase,
  { to, earlier, where }: Reshaping,
  columnsOf: ColumnsOf | null = null,
): Promise<void> {
  const alter = (...changes: ColumnChange[]): Promise<void> => alterTable(client, to, changes, where, columnsOf);
  const wanted = to.columns.filter(({ generated }) => !generated);
  await endComputed(client, { to, earlier }, alter);
  const present = await readColumns(client, to);
  const gone = new Set(
    earlier
      .flatMap(({ columns }) => columns)
      .map(({ name }) => name)
      .filter((name) => present.has(name) && !to.columns.some((column) => column.name === name)),
  );
  for (const column of wanted.filter(({ name }) => !present.has(name))) {
    const fits = [...gone].filter((name) => present.get(name)?.type === column.type);
    const [from] = fits;
    if (from === undefined || fits.length > 1) continue;
    gone.delete(from);
    await alter({ kind: 'rename', column: from, to: column.name });
  }
  const now = await readColumns(client, to);
  for (const { name } of wanted.filter((column) => !now.has(column.name))) await alter(addition(name));
  const retyped = wanted.filter((column) => {
    const before = earlier.flatMap(({ columns }) => columns.find(({ name }) => name === column.name) ?? []);
    const isOther = before.some(({ type }) => type !== column.type) && now.has(column.name);
    return isOther && now.get(column.name)?.type !== column.type;
  });
  for (const { name, generation } of to.columns) {
    // A column that others are computed from keeps its type (PostgreSQL: "Generated Columns").
    const wasOther = earlier.some(({ columns }) =>
      columns.some((one) => one.name === name && one.generation?.expression !== generation?.expression),
    );
    const isInTheWay = retyped.length > 0 || (wasOther && now.get(name)?.expression !== generation?.expression);
    if (generation !== undefined && now.has(name) && isInTheWay) await alter({ kind: 'drop', column: name });
  }
  for (const name of gone) await alter({ kind: 'drop', column: name });
  for (const column of retyped) await retype(client, to, column, where, columnsOf);
  for (const { name } of to.columns.filter(({ generated }) => generated)) await alter(addition(name));
}

function addition(column: string): ColumnChange {
  return { kind: 'add', column, fill: null, expression: null };
}

/** Columns that are computed no more, or were not and are now: first, since others may go only after them. */
async function endComputed(
  client: pg.ClientBase,
  { to, earlier }: Omit<Reshaping, 'where'>,
  alter: (change: ColumnChange) => Promise<void>,
): Promise<void> {
  const present = await readColumns(client, to);
  const before = earlier.flatMap(({ columns }) => columns);
  for (const [name, { expression }] of present) {
    const column = to.columns.find((one) => one.name === name);
    const known = before.filter((one) => one.name === name);
    if (expression !== null && column?.generated === false) await alter({ kind: 'retype', column: name });
    const isGone = expression !== null && column === undefined && known.length > 0;
    const isOther = expression === null && column?.generated === true && known.some(({ generated }) => !generated);
    if (isGone || isOther) await alter({ kind: 'drop', column: name });
  }
}

/** The table has no rows, so any type will do; a default that the new type cannot take goes. */
export async function retype(
  client: pg.ClientBase,
  to: TableStructure,
  column: ColumnStructure,
  where: string,
  columnsOf: ColumnsOf | null = null,
): Promise<void> {
  if (column.enumLabels !== null) await createEnums(client, [{ ...to, columns: [column] }]);
  const owner = await ownerOf(client, to, columnsOf, column.name);
  const name = quoteIdentifier(column.name);
  const statement = retypeEmpty(owner, name, typeSql(column));
  await client.query('SAVEPOINT retype');
  try {
    await client.query(statement);
  } catch {
    await client.query('ROLLBACK TO SAVEPOINT retype');
    await run(client, to, `ALTER TABLE ${owner.table} ALTER COLUMN ${name} DROP DEFAULT`, where);
    await run(client, to, statement, where);
  }
  await client.query('RELEASE SAVEPOINT retype');
}
