import type pg from 'pg';
import { RestageError } from '#core/errors.ts';
import { namedType, type ColumnChange, type ColumnsOf, type TypeName } from '#core/structure-change.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { formatTable, quoteIdentifier, quoteLiteral, quoteTable } from '#core/table-name.ts';
import { runSingle } from '../single-statement.ts';
import { ensureSchema } from './table-change.ts';
import { addColumn, dropColumn, ownerOf, renameColumn, retypeColumn, type ColumnOwner } from './column-owner.ts';
import { createEnums, generationSql, typeSql } from './schema-create.ts';

/** A column that the target's table has now. */
interface PresentColumn {
  /** As format_type prints it. */
  readonly type: string;
  /** How it is computed, as pg_get_expr prints it; null for a plain one. */
  readonly expression: string | null;
}

type PresentColumns = ReadonlyMap<string, PresentColumn>;

/**
 * Makes of the target's table what happened to the source's, in the caller's transaction and so exactly once. What somebody did at the
 * target beforehand is left as it is. `where` names the place in the stream.
 * @throws RestageError ddl_unsupported with the statement that the target refused.
 */
export async function alterTable(
  client: pg.ClientBase,
  to: TableStructure,
  changes: readonly ColumnChange[],
  where: string,
  columnsOf: ColumnsOf | null = null,
): Promise<void> {
  for (const change of changes) {
    const owner = await ownerOf(client, to, columnsOf, change.column);
    if (change.kind === 'retype' && change.was !== undefined)
      await renameType(client, to, change.was, { ...change, where });
    const present = await readColumns(client, to);
    requireComputed(to, change, present, where);
    if (change.kind === 'add' && !present.has(change.column)) await requireType(client, to, change.column);
    for (const statement of statementsOf(to, change, present, owner)) await run(client, to, statement, where);
    if (change.kind === 'add' && change.expression !== null && !present.has(change.column))
      await setDefault(client, owner, change.column, change.expression);
  }
}

function statementsOf(to: TableStructure, change: ColumnChange, present: PresentColumns, owner: ColumnOwner): string[] {
  const alter = `ALTER TABLE ${owner.table}`;
  const name = quoteIdentifier(change.column);
  const isThere = present.has(change.column);
  switch (change.kind) {
    case 'add': {
      const column = columnOf(to, change.column);
      if (isThere) return [];
      // The default that fills the rows that are there is not that of rows to come.
      const fill = change.fill === null ? '' : ` DEFAULT ${quoteLiteral(change.fill)}`;
      return [
        addColumn(owner, `${name} ${typeSql(column)}${generationSql(column)}${fill}`),
        ...(fill === '' ? [] : [`${alter} ALTER COLUMN ${name} DROP DEFAULT`]),
        ...(column.notNull ? [`${alter} ALTER COLUMN ${name} SET NOT NULL`] : []),
      ];
    }
    case 'drop':
      return isThere ? dropColumn(owner, name) : [];
    case 'rename':
      return isThere && !present.has(change.to) ? [renameColumn(owner, name, quoteIdentifier(change.to))] : [];
    case 'retype': {
      const column = columnOf(to, change.column);
      const there = present.get(change.column);
      const isWanted = there?.type === column.type || column.enumLabels !== null;
      return [
        ...(there === undefined ? [] : computedAs(column, there)).map(
          (action) => `${alter} ALTER COLUMN ${name} ${action}`,
        ),
        ...(isWanted ? [] : [retypeColumn(owner, name, typeSql(column))]),
      ];
    }
  }
}

/** The target computes the same of the same columns, so what the source did is done here too. */
function computedAs({ generation }: ColumnStructure, { expression }: PresentColumn): string[] {
  if (expression === null || generation?.expression === expression) return [];
  return [generation === undefined ? 'DROP EXPRESSION' : `SET EXPRESSION AS (${generation.expression})`];
}

/** Events carry no values of a generated column. @throws RestageError ddl_unsupported where it would stay without. */
function requireComputed(to: TableStructure, change: ColumnChange, present: PresentColumns, where: string): void {
  if (change.kind === 'drop' || change.kind === 'rename') return;
  const { generation } = columnOf(to, change.column);
  if (generation === undefined || present.get(change.column)?.expression !== null) return;
  const { column } = change;
  throw new RestageError(
    'ddl_unsupported',
    `column ${column} is generated at the source, and a plain one at the target`,
    {
      where: `${formatTable(to)}, ${where}: GENERATED ALWAYS AS (${generation.expression})`,
      fix: `drop it at the target, and the sink makes it as the source has it; or leave it out by a rule: columns: { drop: [${column}] }`,
    },
  );
}

/** With its array's, and in all columns that have it. One that is there by its newer name was renamed before. */
async function renameType(
  client: pg.ClientBase,
  to: TableStructure,
  was: TypeName,
  { column, where }: { readonly column: string; readonly where: string },
): Promise<void> {
  const is = namedType(columnOf(to, column));
  const quoted = ({ schema, name }: TypeName): string => `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
  const { rows } = await client.query<{ due: boolean }>(
    'SELECT to_regtype($1) IS NOT NULL AND to_regtype($2) IS NULL AS due',
    [quoted(was), quoted(is)],
  );
  if (rows[0]?.due !== true) return;
  if (was.schema !== is.schema) {
    await ensureSchema(client, is.schema);
    await run(client, to, `ALTER TYPE ${quoted(was)} SET SCHEMA ${quoteIdentifier(is.schema)}`, where);
  }
  const moved = quoted({ ...was, schema: is.schema });
  if (was.name !== is.name) await run(client, to, `ALTER TYPE ${moved} RENAME TO ${quoteIdentifier(is.name)}`, where);
}

async function requireType(client: pg.ClientBase, to: TableStructure, name: string): Promise<void> {
  const column = columnOf(to, name);
  if (column.enumLabels !== null) await createEnums(client, [{ ...to, columns: [column] }]);
}

export async function readColumns(client: pg.ClientBase, table: TableStructure): Promise<PresentColumns> {
  const { rows } = await client.query<PresentColumn & { name: string }>(
    `SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
            CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END AS expression
       FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped`,
    [quoteTable(table)],
  );
  return new Map(rows.map(({ name, ...column }) => [name, column]));
}

export async function run(
  client: pg.ClientBase,
  table: TableStructure,
  statement: string,
  where: string,
): Promise<void> {
  try {
    await runSingle(client, statement);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new RestageError('ddl_unsupported', `the target refuses to follow the source: ${why}`, {
      where: `${formatTable(table)}, ${where}: ${statement}`,
      cause,
      fix: 'remove what stands in the way at the target, or make the change there by hand; the sink goes on from here',
    });
  }
}

/** The source's own words, as pg_dump would write them; what they name may not be at the target, and no row of the stream needs it. */
async function setDefault(
  client: pg.ClientBase,
  { table }: ColumnOwner,
  column: string,
  expression: string,
): Promise<void> {
  await client.query('SAVEPOINT set_default');
  try {
    await runSingle(client, `ALTER TABLE ${table} ALTER COLUMN ${quoteIdentifier(column)} SET DEFAULT ${expression}`);
  } catch {
    await client.query('ROLLBACK TO SAVEPOINT set_default');
  }
  await client.query('RELEASE SAVEPOINT set_default');
}

function columnOf(table: TableStructure, name: string): ColumnStructure {
  const column = table.columns.find((one) => one.name === name);
  if (column !== undefined) return column;
  throw new RestageError('manifest_invalid', 'a change names a column that its structure does not have', {
    where: `${formatTable(table)}.${name}`,
  });
}

/**
 * Labels that the source's enums have and the target's lack, each at its place. Outside any transaction: a new label cannot be used in
 * the one that adds it (PostgreSQL: "ALTER TYPE", Notes), and one too early does no harm.
 */
export async function addEnumLabels(
  client: pg.ClientBase,
  table: TableStructure,
  changes: readonly ColumnChange[],
): Promise<void> {
  for (const change of changes) {
    const labels = change.kind === 'retype' ? columnOf(table, change.column).enumLabels : null;
    const found = labels === null ? undefined : await readEnum(client, table, change.column);
    if (labels === null || found === undefined) continue;
    const known = new Set(found.labels);
    for (const [index, label] of labels.entries()) {
      if (known.has(label)) continue;
      const before = labels[index - 1];
      const place =
        before === undefined ? `BEFORE ${quoteLiteral(found.labels[0] ?? '')}` : `AFTER ${quoteLiteral(before)}`;
      await client.query(`ALTER TYPE ${found.type} ADD VALUE IF NOT EXISTS ${quoteLiteral(label)} ${place}`);
      known.add(label);
    }
  }
}

/** The enum of the target's column, or of its elements; undefined where that is another type. */
async function readEnum(
  client: pg.ClientBase,
  table: TableStructure,
  column: string,
): Promise<{ readonly type: string; readonly labels: readonly string[] } | undefined> {
  const { rows } = await client.query<{ type: string; labels: string[] }>(
    `SELECT format('%I.%I', n.nspname, t.typname) AS type, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS labels
       FROM pg_attribute a JOIN pg_type c ON c.oid = a.atttypid
       JOIN pg_type t ON t.oid = CASE WHEN c.typelem <> 0 THEN c.typelem ELSE c.oid END
       JOIN pg_namespace n ON n.oid = t.typnamespace JOIN pg_enum e ON e.enumtypid = t.oid
      WHERE a.attrelid = to_regclass($1) AND a.attname = $2 GROUP BY 1`,
    [quoteTable(table), column],
  );
  return rows[0];
}
