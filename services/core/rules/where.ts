import { Environment } from '@marcbachmann/cel-js';
import type { Image } from '#core/change.ts';
import { RestageError } from '#core/errors.ts';
import { nearest } from '#core/nearest.ts';
import { Decimal } from '#core/rules/decimal.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { formatTable } from '#core/table-name.ts';

/** A row filter. A row in which a column that the expression names is NULL does not pass, as in SQL's WHERE. */
export interface Where {
  readonly columns: readonly string[];
  passes(image: Image): boolean;
}

const COMPARISONS = ['<', '<=', '>', '>='] as const;

/**
 * Compiles a CEL expression over a table's columns: booleans, int64 for int2, int4 and int8, exact decimals for numeric, doubles for
 * float4 and float8, strings for the rest. Checked against the structure before the first row.
 * @throws RestageError rule_invalid.
 */
export function compileWhere(expression: string, structure: TableStructure): Where {
  const where = `rule for ${formatTable(structure)}, where: ${expression}`;
  const environment = makeEnvironment(structure.columns);
  const checked = environment.check(expression);
  if (!checked.valid) {
    const unknown = /Unknown variable: (\S+)/.exec(checked.error?.message ?? '')?.[1];
    const known =
      unknown === undefined
        ? null
        : nearest(
            unknown,
            structure.columns.map((column) => column.name),
          );
    const hint = known === null ? '' : `; did you mean ${known}?`;
    throw new RestageError(
      'rule_invalid',
      `the expression does not fit the table: ${(checked.error?.message ?? '').split('\n')[0]}${hint}`,
      { where },
    );
  }
  if (checked.type !== 'bool')
    throw new RestageError('rule_invalid', `the expression gives ${checked.type ?? 'nothing'}, not a bool`, { where });
  const evaluate = environment.parse(expression);
  const columns = structure.columns.filter((column) => namesColumn(expression, column.name));
  return {
    columns: columns.map((column) => column.name),
    passes: (image) => {
      const values: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
      for (const column of columns) {
        const text = image.get(column.name);
        if (text === null || text === undefined) return false;
        values[column.name] = celValue(column, text);
      }
      return evaluate(values) === true;
    },
  };
}

function makeEnvironment(columns: readonly ColumnStructure[]): Environment {
  const environment = new Environment({ unlistedVariablesAreDyn: false }).registerType('decimal', Decimal);
  for (const comparison of COMPARISONS) {
    for (const other of ['int', 'double']) {
      environment.registerOperator(`decimal ${comparison} ${other}`, (a: Decimal, b: bigint | number) =>
        holds(comparison, a.compare(toDecimal(b))),
      );
      environment.registerOperator(`${other} ${comparison} decimal`, (a: bigint | number, b: Decimal) =>
        holds(comparison, toDecimal(a).compare(b)),
      );
    }
    environment.registerOperator(`decimal ${comparison} decimal`, (a: Decimal, b: Decimal) =>
      holds(comparison, a.compare(b)),
    );
  }
  for (const other of ['int', 'double'])
    environment.registerOperator(
      `decimal == ${other}`,
      (a: Decimal, b: bigint | number) => a.compare(toDecimal(b)) === 0,
    );
  environment.registerOperator('decimal == decimal', (a: Decimal, b: Decimal) => a.compare(b) === 0);
  for (const column of columns)
    if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(column.name)) environment.registerVariable(column.name, celType(column));
  return environment;
}

function holds(comparison: (typeof COMPARISONS)[number], order: number): boolean {
  switch (comparison) {
    case '<':
      return order < 0;
    case '<=':
      return order <= 0;
    case '>':
      return order > 0;
    case '>=':
      return order >= 0;
  }
}

function toDecimal(value: bigint | number): Decimal {
  return Decimal.parse(String(value));
}

function celType(column: ColumnStructure): string {
  if (column.typeSchema !== 'pg_catalog') return 'string';
  switch (column.typeName) {
    case 'bool':
      return 'bool';
    case 'int2':
    case 'int4':
    case 'int8':
      return 'int';
    case 'float4':
    case 'float8':
      return 'double';
    case 'numeric':
      return 'decimal';
    default:
      return 'string';
  }
}

function celValue(column: ColumnStructure, text: string): unknown {
  switch (celType(column)) {
    case 'bool':
      return text === 't';
    case 'int':
      return BigInt(text);
    case 'double':
      return Number(text);
    case 'decimal':
      return Decimal.parse(text);
    default:
      return text;
  }
}

/** Columns are looked for outside string constants. */
function namesColumn(expression: string, name: string): boolean {
  const code = expression.replaceAll(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/gs, '""');
  return new Set(code.match(/[A-Za-z_][A-Za-z0-9_]*/g) ?? []).has(name);
}
