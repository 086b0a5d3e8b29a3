import { cellText, type Cell, type Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import { type DeclaredColumn, type ModuleDeclaration } from '#core/module/declaration.ts';
import type { ModuleChange } from '#core/module/module-runner.ts';
import { declaredBranch } from '#core/module/module-tables.ts';
import { nearest } from '#core/nearest.ts';
import type { Branch } from '#core/rules/branch.ts';
import { cellOf, keyText, pickColumns, rowFrom } from '#core/rules/rows.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import type { ShapedEvent } from '#core/rules/table-rules.ts';
import { compileCast, type Cast } from '#core/rules/values/cast.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';
import { builtInName, plainType } from '#core/rules/values/value-types.ts';
import { formatTable, tableKey } from '#core/table-name.ts';
import { parseTableName } from '#core/table-text.ts';

interface OutputTable {
  readonly branch: Branch;
  readonly from: ReadonlySet<string>;
  readonly columns: ReadonlyMap<string, { readonly column: DeclaredColumn; readonly cast: Cast }>;
}

const WHOLE_NUMBERS: ReadonlySet<string> = new Set(['int2', 'int4', 'int8', 'numeric']);
const FLOATS: ReadonlySet<string> = new Set(['float4', 'float8']);

/** Holds what a module gives against the tables that it declares, and makes events of it. */
export class ModuleOutput {
  readonly #tables = new Map<string, OutputTable>();
  readonly #names: readonly string[];

  constructor({ tables }: ModuleDeclaration, shapedPrefix: string) {
    this.#names = tables.map(formatTable);
    for (const table of tables) {
      const columns = table.columns.map((column) => [column.name, { column, cast: castOf(column) }] as const);
      this.#tables.set(tableKey(table), {
        branch: declaredBranch(table, shapedPrefix),
        from: table.from,
        columns: new Map(columns),
      });
    }
  }

  /** `source`: the key of the table whose change it was, `op` what that was. @throws RuleFailure naming table and column, never a value. */
  shape(change: ModuleChange, source: string, op: RowEvent['op']): ShapedEvent {
    const table = this.#find(change.table, source);
    const wanted = change.op ?? op;
    const { branch } = table;
    const name = formatTable(branch.shaped);
    if (op === 'r' && wanted !== 'c' && wanted !== 'r')
      throw new RuleFailure('wrong_type', `a row of the load gives a change ${wanted} of ${name}, not a new row`);
    switch (wanted) {
      case 'c':
      case 'r':
        return { branch, event: enter(table, change, op === 'r' ? 'r' : 'c') };
      case 'u':
        return { branch, event: update(table, change) };
      case 'd': {
        const key = keyOf(table, change.before ?? change.key, 'before or key');
        return { branch, event: { op: 'd', key, before: key, after: null } };
      }
    }
  }

  #find(name: string, source: string): OutputTable {
    const parsed = parseTableName(name);
    const table = parsed === null ? undefined : this.#tables.get(tableKey(parsed));
    if (table === undefined) {
      const near = nearest(name, this.#names);
      throw new RuleFailure('wrong_type', 'a change is of a table that the module does not declare', {
        fix: near === null ? 'add it to tables' : `did you mean ${near}?`,
      });
    }
    if (table.from.has(source)) return table;
    throw new RuleFailure(
      'wrong_type',
      `a change comes to ${formatTable(table.branch.shaped)} from a table that is not in its from`,
      { fix: 'add the table to its from; then start the output anew under its next version' },
    );
  }
}

function enter(table: OutputTable, change: ModuleChange, op: 'c' | 'r'): RowEvent {
  const [unknown] = change.unchanged;
  if (unknown !== undefined)
    throw failure(table, unknown, 'column_absent', 'a new row has UNCHANGED, and nothing is there that it could leave');
  const after = rowOf(table, change);
  return { op, key: keyOf(table, after, 'after'), before: null, after };
}

/** `before` counts only for the key: the target's tables have no more of it. */
function update(table: OutputTable, change: ModuleChange): RowEvent {
  const { identity } = table.branch.shaped;
  const after = rowOf(table, change);
  const key = keyOf(table, after, 'after');
  if (change.before === null) return { op: 'u', key, before: null, after };
  const old = keyOf(table, change.before, 'before');
  const isSame = keyText(old, identity.columns) === keyText(key, identity.columns);
  return { op: 'u', key, before: isSame ? null : old, after };
}

function keyOf(table: OutputTable, row: Row | null, where: string): Row {
  const { columns } = table.branch.shaped.identity;
  const cells = columns.map((name): readonly [string, Cell] => {
    const given = row !== null && Object.hasOwn(row, name) ? (row[name] ?? null) : null;
    if (given === null) throw failure(table, name, 'null_not_allowed', `the key has no value in ${where}`);
    return [name, readCell(table, name, given)];
  });
  return pickColumns(rowFrom(cells), columns);
}

/** In the order of the declaration. */
function rowOf(table: OutputTable, { after, unchanged }: ModuleChange): Row {
  const given = after ?? {};
  const names = [...table.columns.keys()];
  const extra = [...Object.keys(given), ...unchanged].find((name) => !table.columns.has(name));
  if (extra !== undefined) {
    const near = nearest(extra, names);
    const hint = near === null ? '' : `; did you mean ${near}?`;
    throw failure(table, extra, 'wrong_type', `the table has no such column${hint}`);
  }
  return rowFrom(
    names
      .filter((name) => !unchanged.includes(name))
      .map((name) => {
        if (!Object.hasOwn(given, name)) throw failure(table, name, 'column_absent', 'the row has no value for it');
        return [name, readCell(table, name, given[name] ?? null)] as const;
      }),
  );
}

function readCell(table: OutputTable, name: string, given: Cell): Cell {
  const found = table.columns.get(name);
  if (found === undefined) throw failure(table, name, 'wrong_type', 'the table has no such column');
  const { column, cast } = found;
  const { type } = column;
  if (given === null) {
    if (column.notNull) throw failure(table, name, 'null_not_allowed', 'it is null, and the column is not');
    return null;
  }
  const builtIn = builtInName(type) ?? '';
  const fits =
    typeof given === 'string' ||
    (typeof given === 'boolean' && builtIn === 'bool') ||
    (typeof given === 'number' && (FLOATS.has(builtIn) || (WHOLE_NUMBERS.has(builtIn) && Number.isSafeInteger(given))));
  if (!fits) {
    const kind = typeof given === 'number' ? 'a number that is not exact' : `a ${typeof given}`;
    throw failure(table, name, 'wrong_type', `${kind} is no ${type.type}: give PostgreSQL's text of it`);
  }
  try {
    return cellOf(cast(cellText(given)), type.json);
  } catch (cause) {
    if (cause instanceof RestageError) throw failure(table, name, 'invalid_text', cause.message, cause);
    throw cause;
  }
}

/** From text; types that have no text of ours are left to the target. */
function castOf({ name, type }: DeclaredColumn): Cast {
  try {
    return compileCast(plainType('text'), type, `columns.${name}`);
  } catch (error) {
    if (error instanceof RestageError && error.code === 'rule_invalid') return (text) => text;
    throw error;
  }
}

function failure(
  { branch }: OutputTable,
  column: string,
  reason: RuleFailure['reason'],
  what: string,
  cause?: unknown,
): RuleFailure {
  const error = new RuleFailure(reason, `column ${column} of ${formatTable(branch.shaped)}: ${what}`);
  if (cause !== undefined) error.cause = cause;
  return error;
}
