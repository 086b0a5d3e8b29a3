import type pg from 'pg';
import type { Image, RowChange } from '#core/change.ts';
import type { ErrorCode } from '#core/errors.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { mismatchError } from './bulk-apply.ts';
import { replaceIdentityValues } from './identity-columns.ts';
import { runStatement } from './long-query.ts';
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
  if (change.kind === 'update' && table.hasAlwaysIdentity)
    return applyChange(client, table, await moveIdentityValues(client, table, change, mismatch), mismatch);
  return applyChange(client, table, change, mismatch);
}

async function applyChange(
  client: pg.ClientBase,
  table: TargetTable,
  change: Exclude<RowChange, { kind: 'insert' }>,
  mismatch: ErrorCode,
): Promise<void> {
  const statement = new Statement();
  if (change.kind === 'delete') {
    statement.text = `DELETE FROM ${table.only} AS t WHERE `;
  } else {
    const set = [...change.after].filter(([name, value]) => isSettable(table, name, value, change.key));
    if (set.length === 0) return;
    statement.text = `UPDATE ${table.only} AS t SET ${set.map(([name, value]) => `${quoteIdentifier(name)} = ${statement.bind(value)}`).join(', ')} WHERE `;
  }
  statement.text += matchRow(table, change, statement, mismatch);
  const done = await runStatement(client, statement.text, statement.values);
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
  await runStatement(
    client,
    `INSERT INTO ${table.sql} (${names}) OVERRIDING SYSTEM VALUE VALUES (${values})`,
    statement.values,
  );
}

function isSettable(table: TargetTable, name: string, value: string | null, key: Image): boolean {
  const column = table.columns.get(name);
  if (column === undefined || column.isAlwaysIdentity) return false;
  return !table.identity.includes(name) || key.get(name) !== value;
}

/** What `SET id = DEFAULT` gave at the source comes first; the rest of the change then finds the row by what it is now. */
async function moveIdentityValues(
  client: pg.ClientBase,
  table: TargetTable,
  change: Extract<RowChange, { kind: 'update' }>,
  mismatch: ErrorCode,
): Promise<Extract<RowChange, { kind: 'update' }>> {
  const old = change.before ?? change.key;
  const always = [...change.after].filter(
    ([name, value]) => table.columns.get(name)?.isAlwaysIdentity === true && old.get(name) !== value,
  );
  if (always.length === 0) return change;
  const statement = new Statement();
  const where = matchRow(table, change, statement, mismatch);
  const values = new Map(
    always.map(([name, value]) => [name, `${statement.bind(value)}::${table.columns.get(name)?.cast ?? 'int8'}`]),
  );
  await replaceIdentityValues(client, table, { using: '', where, values, parameters: statement.values });
  const moved = new Map(always);
  const now = (image: Image): Image =>
    new Map([...image].map(([name, value]) => [name, moved.has(name) ? (moved.get(name) ?? null) : value]));
  return { ...change, key: now(change.key), before: change.before === null ? null : now(change.before) };
}

function matchRow(
  table: TargetTable,
  change: Exclude<RowChange, { kind: 'insert' }>,
  statement: Statement,
  mismatch: ErrorCode,
): string {
  return table.identity.length > 0
    ? byKey(table, change.key, statement)
    : byWholeRow(table, change, statement, mismatch);
}

function byKey(table: TargetTable, key: Image, statement: Statement): string {
  return table.identity
    .map((name) => {
      const column = table.columns.get(name);
      // A parameter's own type is what it is cast to; without, a composite's would be an anonymous record.
      const value = `${statement.bind(key.get(name) ?? null)}::${column?.cast ?? 'text'}`;
      return `t.${quoteIdentifier(name)} ${column?.equals ?? '='} ${value}`;
    })
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
  if (cells.length === 0 && change.before === null)
    throw mismatchError(mismatch, table, undefined, 'the change of a table without identity names no row');
  const same = cells.map(([name, value]) => sameText(`o.${quoteIdentifier(name)}`, value, statement)).join(' AND ');
  // Without columns every row is equal. A ctid is unique in one partition only.
  const [row, other] = table.isPartitioned ? ['(t.tableoid, t.ctid)', 'o.tableoid, o.ctid'] : ['t.ctid', 'o.ctid'];
  return `${row} = (SELECT ${other} FROM ${table.only} AS o ${same === '' ? '' : `WHERE ${same}`} LIMIT 1)`;
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
