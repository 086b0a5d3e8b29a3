import type pg from 'pg';
import type { Image, RowChange } from '#core/change.ts';
import type { ErrorCode } from '#core/errors.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { mismatchError } from './bulk-apply.ts';
import type { TargetTable } from './target-table.ts';

/**
 * One change as one statement, in source order: for tables that must not be folded, and where the bulk form tripped a
 * constraint that the order of the source does not.
 */
export async function applyRow(
  client: pg.ClientBase,
  table: TargetTable,
  change: RowChange,
  mismatch: ErrorCode,
): Promise<void> {
  if (change.kind === 'insert') return insertRow(client, table, change.after);
  const statement = new Statement();
  if (change.kind === 'delete') {
    statement.text = `DELETE FROM ${table.sql} AS t WHERE `;
  } else {
    const set = [...change.after].filter(([name, value]) => isSettable(table, name, value, change.key));
    if (set.length === 0) return;
    statement.text = `UPDATE ${table.sql} AS t SET ${set.map(([name, value]) => `${quoteIdentifier(name)} = ${statement.bind(value)}`).join(', ')} WHERE `;
  }
  statement.text +=
    table.identity.length > 0 ? byKey(table, change.key, statement) : byWholeRow(table, change, statement, mismatch);
  const done = await client.query(statement.text, statement.values);
  if (done.rowCount !== 1)
    throw mismatchError(mismatch, table, change.key, `${done.rowCount ?? 0} rows instead of one`);
}

async function insertRow(client: pg.ClientBase, table: TargetTable, after: Image): Promise<void> {
  const cells = [...after].filter(([name]) => table.columns.has(name));
  if (cells.length === 0) {
    await client.query(`INSERT INTO ${table.sql} DEFAULT VALUES`);
    return;
  }
  const statement = new Statement();
  const values = cells.map(([, value]) => statement.bind(value)).join(', ');
  const names = cells.map(([name]) => quoteIdentifier(name)).join(', ');
  await client.query(
    `INSERT INTO ${table.sql} (${names}) OVERRIDING SYSTEM VALUE VALUES (${values})`,
    statement.values,
  );
}

function isSettable(table: TargetTable, name: string, value: string | null, key: Image): boolean {
  const column = table.columns.get(name);
  if (column === undefined || column.isAlwaysIdentity) return false;
  return !table.identity.includes(name) || key.get(name) !== value;
}

function byKey(table: TargetTable, key: Image, statement: Statement): string {
  return table.identity
    .map((name) => `t.${quoteIdentifier(name)} = ${statement.bind(key.get(name) ?? null)}`)
    .join(' AND ');
}

/**
 * Exactly one of the equal rows. Text tells them apart where a type has no equality (json, point), and it is the output function's,
 * as in the event, which format() calls: a cast to text prints bool, inet and char(n) otherwise (PostgreSQL: "CREATE CAST", Notes).
 */
function byWholeRow(
  table: TargetTable,
  change: Exclude<RowChange, { kind: 'insert' }>,
  statement: Statement,
  mismatch: ErrorCode,
): string {
  const cells = [...(change.before ?? change.key)].filter(([name]) => table.columns.has(name));
  if (cells.length === 0)
    throw mismatchError(mismatch, table, undefined, 'the change of a table without identity names no row');
  const same = cells.map(([name, value]) => sameText(`o.${quoteIdentifier(name)}`, value, statement)).join(' AND ');
  return `t.ctid = (SELECT o.ctid FROM ${table.sql} AS o WHERE ${same} LIMIT 1)`;
}

/** IS NULL would hold for a composite of NULLs as well, and format() prints NULL as an empty string. */
function sameText(column: string, value: string | null, statement: Statement): string {
  if (value === null) return `${column} IS NOT DISTINCT FROM NULL`;
  return `(${column} IS DISTINCT FROM NULL AND format('%s', ${column}) COLLATE "C" = ${statement.bind(value)})`;
}

class Statement {
  text = '';
  readonly values: (string | null)[] = [];

  bind(value: string | null): string {
    this.values.push(value);
    return `$${this.values.length}`;
  }
}
