import { Environment } from '@marcbachmann/cel-js';
import type { Image } from '#core/change.ts';
import { RestageError } from '#core/errors.ts';
import { nearest } from '#core/nearest.ts';
import { registerDecimal, Decimal } from '#core/rules/decimal.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { formatTable, quoteTable } from '#core/table-name.ts';

/**
 * A row filter with SQL's three values: what depends on a NULL is unknown, and a row passes only where the whole is true
 * (PostgreSQL: "Comparison Functions and Operators"). `x == null` and `x != null` ask for NULL itself.
 */
export interface Where {
  /** The columns that it reads. */
  readonly columns: readonly string[];
  /** `place` names the event, for messages. @throws RestageError rule_failed, also for a column that the image lacks; record_invalid. */
  passes(image: Image, place?: string): boolean;
}

/** An expression's node, as far as it is looked at here. */
interface CelNode {
  readonly op: string;
  args: unknown;
}

const MACROS: ReadonlySet<string> = new Set(['all', 'exists', 'exists_one', 'map', 'filter']);
/** What the evaluator says of a null where the type is another: nothing else gives a variable a wrong type. */
const NULL_READ = 'variable_type_mismatch';

/**
 * Compiles a CEL expression over a table's columns: booleans, int64 for int2, int4 and int8, exact decimals for numeric, doubles for
 * float4 and float8, strings for the rest. Checked against the structure before the first row.
 * @throws RestageError rule_invalid.
 */
export function compileWhere(expression: string, structure: TableStructure): Where {
  const where = `rule for ${formatTable(structure)}, where: ${expression}`;
  const columns = structure.columns.filter((column) => !column.generated);
  const parsed = attempt(() => makeEnvironment(columns).parse(expression), where);
  const used = bindColumns(parsed.ast, columns, where);
  const checked = parsed.check();
  if (!checked.valid) throw misfit(checked.error, structure, where);
  if (checked.type !== 'bool')
    throw new RestageError('rule_invalid', `the expression gives ${checked.type ?? 'nothing'}, not a bool`, { where });
  return {
    columns: used.map((column) => column.name),
    passes: (image, place = 'a row') => {
      const values = readValues(used, image, structure, `${place}; ${where}`);
      try {
        return parsed(values) === true;
      } catch (cause) {
        if (cause instanceof Error && 'code' in cause && cause.code === NULL_READ) return false;
        const reason = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
        throw new RestageError('rule_failed', `an expression fails for a row: ${reason}`, {
          where: `${place}; ${where}`,
          cause,
          fix: 'make the expression hold for every row; then start the output anew under its next version',
        });
      }
    },
  };
}

/**
 * Gives columns names that no identifier can have, so that one called `type` or `int` does not meet CEL's own words, and turns
 * comparisons with null into questions of their own. Returns the columns in use.
 */
function bindColumns(root: CelNode, columns: readonly ColumnStructure[], where: string): ColumnStructure[] {
  const nodes = [...nodesOf(root)];
  const known = new Map(columns.map((column) => [column.name, column]));
  const used = new Set<ColumnStructure>();
  for (const name of nodes.flatMap(boundName)) {
    if (known.has(name))
      throw new RestageError('rule_invalid', `the expression's own variable ${name} has a column's name`, {
        where,
        fix: 'give it another name',
      });
  }
  for (const node of nodes) {
    const [left, right] = Array.isArray(node.args) ? (node.args as CelNode[]) : [];
    if ((node.op !== '==' && node.op !== '!=') || left === undefined || right === undefined) continue;
    const [id, literal] = left.op === 'id' ? [left, right] : [right, left];
    const column =
      id.op === 'id' && literal.op === 'value' && literal.args === null ? known.get(String(id.args)) : undefined;
    if (column === undefined) continue;
    used.add(column);
    id.args = nullVariable(column);
    literal.args = true;
  }
  for (const node of nodes) {
    const column = node.op === 'id' ? known.get(String(node.args)) : undefined;
    if (column === undefined) continue;
    used.add(column);
    node.args = variable(column);
  }
  return [...used];
}

function* nodesOf(value: unknown): Generator<CelNode> {
  if (Array.isArray(value)) {
    for (const item of value) yield* nodesOf(item);
  } else if (isNode(value)) {
    yield value;
    if (value.op !== 'value') yield* nodesOf(value.args);
  }
}

function isNode(value: unknown): value is CelNode {
  return typeof value === 'object' && value !== null && 'op' in value && 'args' in value;
}

/** The variable that a macro such as `exists(x, …)` brings. */
function boundName(node: CelNode): string[] {
  if (node.op !== 'rcall' || !Array.isArray(node.args)) return [];
  const [name, , args] = node.args as [string, CelNode, CelNode[]];
  const [first] = args;
  return MACROS.has(name) && first?.op === 'id' ? [String(first.args)] : [];
}

function variable(column: ColumnStructure): string {
  return `column ${column.name}`;
}

function nullVariable(column: ColumnStructure): string {
  return `null ${column.name}`;
}

function attempt<T>(parse: () => T, where: string): T {
  try {
    return parse();
  } catch (cause) {
    const reason = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
    throw new RestageError('rule_invalid', `the expression cannot be read: ${reason}`, { where, cause });
  }
}

function misfit(error: Error | undefined, structure: TableStructure, where: string): RestageError {
  const reason = (error?.message ?? '').split('\n')[0] ?? '';
  const unknown = /^Unknown variable: (\S+)/.exec(reason)?.[1];
  if (unknown === undefined)
    return new RestageError('rule_invalid', `the expression does not fit the table: ${reason}`, { where });
  if (structure.columns.some((column) => column.name === unknown)) {
    return new RestageError('rule_invalid', `column ${unknown} is generated: events do not carry it`, { where });
  }
  const near = nearest(
    unknown,
    structure.columns.map((column) => column.name),
  );
  return new RestageError('rule_invalid', `column ${unknown} is not in the table`, {
    where,
    ...(near === null ? {} : { fix: `did you mean ${near}?` }),
  });
}

function makeEnvironment(columns: readonly ColumnStructure[]): Environment {
  const environment = registerDecimal(new Environment({ unlistedVariablesAreDyn: false }));
  for (const column of columns)
    environment.registerVariable(variable(column), celType(column)).registerVariable(nullVariable(column), 'bool');
  return environment;
}

function readValues(
  columns: readonly ColumnStructure[],
  image: Image,
  structure: TableStructure,
  where: string,
): Map<string, unknown> {
  const values = new Map<string, unknown>();
  for (const column of columns) {
    const text = image.get(column.name);
    if (text === undefined) {
      throw new RestageError('rule_failed', `an event does not carry column ${column.name}, which a rule reads`, {
        where,
        fix: `ALTER TABLE ${quoteTable(structure)} REPLICA IDENTITY FULL; then start the output anew under its next version`,
      });
    }
    values.set(variable(column), text === null ? null : readValue(column, text, where));
    values.set(nullVariable(column), text === null);
  }
  return values;
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

function readValue(column: ColumnStructure, text: string, where: string): unknown {
  try {
    switch (celType(column)) {
      case 'bool':
        return text === 't' || text === 'true';
      case 'int':
        return BigInt(text);
      case 'double':
        return Number(text);
      case 'decimal':
        return Decimal.parse(text);
      default:
        return text;
    }
  } catch (cause) {
    throw new RestageError('record_invalid', `column ${column.name} holds no ${column.type}`, { where, cause });
  }
}
