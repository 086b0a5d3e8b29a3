import type pg from 'pg';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { quoteIdentifier, quoteTable } from '#core/table-name.ts';
import { alterTable, readColumns, run } from './alter-table.ts';
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
 * that was renamed, so that its keys stay.
 * @throws RestageError ddl_unsupported with the statement that the target refused.
 */
export async function reshapeTable(client: pg.ClientBase, { to, earlier, where }: Reshaping): Promise<void> {
  const wanted = to.columns.filter(({ generated }) => !generated);
  const present = await readColumns(client, to);
  const gone = new Set(
    earlier
      .flatMap(({ columns }) => columns)
      .filter(({ generated }) => !generated)
      .map(({ name }) => name)
      .filter((name) => present.has(name) && !to.columns.some((column) => column.name === name)),
  );
  for (const column of wanted.filter(({ name }) => !present.has(name))) {
    const fits = [...gone].filter((name) => present.get(name) === column.type);
    const [from] = fits;
    if (from === undefined || fits.length > 1) continue;
    gone.delete(from);
    await alterTable(client, to, [{ kind: 'rename', column: from, to: column.name }], where);
  }
  const now = await readColumns(client, to);
  for (const { name } of wanted.filter((column) => !now.has(column.name)))
    await alterTable(client, to, [{ kind: 'add', column: name, fill: null, expression: null }], where);
  for (const name of gone) await alterTable(client, to, [{ kind: 'drop', column: name }], where);
  for (const column of wanted) {
    const before = earlier.flatMap(({ columns }) => columns.find(({ name }) => name === column.name) ?? []);
    const isOther = before.some(({ type }) => type !== column.type) && now.has(column.name);
    if (isOther && now.get(column.name) !== column.type) await retype(client, to, column, where);
  }
}

/** The table has no rows, so any type will do; a default that the new type cannot take goes. */
export async function retype(
  client: pg.ClientBase,
  to: TableStructure,
  column: ColumnStructure,
  where: string,
): Promise<void> {
  if (column.enumLabels !== null) await createEnums(client, [{ ...to, columns: [column] }]);
  const alter = `ALTER TABLE ${quoteTable(to)} ALTER COLUMN ${quoteIdentifier(column.name)}`;
  const statement = `${alter} TYPE ${typeSql(column)} USING NULL`;
  await client.query('SAVEPOINT retype');
  try {
    await client.query(statement);
  } catch {
    await client.query('ROLLBACK TO SAVEPOINT retype');
    await run(client, to, `${alter} DROP DEFAULT`, where);
    await run(client, to, statement, where);
  }
  await client.query('RELEASE SAVEPOINT retype');
}
