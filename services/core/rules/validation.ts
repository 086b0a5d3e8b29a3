import { atPlace } from '#core/rules/rule-place.ts';
import { Ajv } from 'ajv';
import { RE2JS } from 're2js';
import { cellText, type Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import { nearest } from '#core/nearest.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import { compileReference, compileUnique, type RelationCheck } from '#core/rules/relation-check.ts';
import { imageOfColumns } from '#core/rules/rows.ts';
import { pairOf } from '#core/rules/table-rules.ts';
import type { FailureAction, ValidationCheck, ValidationConfig } from '#core/rules/validation-config.ts';
import { Decimal } from '#core/rules/values/decimal.ts';
import { compileExpression } from '#core/rules/values/expression.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { formatTable, quoteTable, tableKey } from '#core/table-name.ts';

/** A row, or a transaction, that does not pass a check. */
export class ValidationFailure extends RestageError {
  readonly config: ValidationConfig;
  /** As the report shows it. */
  readonly example: string;

  constructor(config: ValidationConfig, what: string, where: string, example = where) {
    super('rule_failed', `the check ${config.name} fails: ${what}`, {
      where,
      fix: 'correct the row at the source, or the check; validate[].onFailure says what becomes of such rows',
    });
    this.config = config;
    this.example = example;
  }

  get action(): FailureAction {
    return this.config.onFailure;
  }
}

/** A check of one row. */
export interface RowCheck {
  readonly config: ValidationConfig;
  /** Without one of them the value did not change, and there is nothing to check. */
  readonly reads: readonly string[];
  /** '' for a row that passes, else what is wrong, without its values. */
  readonly fault: (row: Row) => string;
}

/** A check of what a transaction changes of a sum. */
export interface SumCheck {
  readonly config: ValidationConfig;
  readonly equals: Decimal;
  /** By group, what an event changes. @throws RangeError never for what PostgreSQL holds as a number. */
  changes(event: RowEvent): readonly (readonly [string, Decimal])[];
}

export interface TableValidation {
  readonly rows: readonly RowCheck[];
  readonly sums: readonly SumCheck[];
  readonly relations: readonly RelationCheck[];
}

/**
 * null for a table without checks. `captured`: the tables whose rows may be asked for; null where no other rows are known, so that rows are
 * checked by themselves alone. @throws RestageError rule_invalid naming check and column.
 */
export function compileValidation(
  structure: TableStructure,
  configs: readonly ValidationConfig[],
  captured: readonly TableStructure[] | null,
): TableValidation | null {
  const own = configs.filter(({ table }) => tableKey(table) === tableKey(structure));
  if (own.length === 0) return null;
  const rows: RowCheck[] = [];
  const sums: SumCheck[] = [];
  const relations: RelationCheck[] = [];
  for (const config of own) {
    if (captured === null && config.check.kind === 'reference') continue;
    const made = compileCheck(structure, config, captured ?? []);
    if ('changes' in made) sums.push(made);
    else if ('remembers' in made) relations.push(made);
    else rows.push(made);
  }
  return { rows, sums, relations: captured === null ? [] : relations };
}

/** What is wrong with an output's checks over all captured tables. */
export function findValidationProblems(
  configs: readonly ValidationConfig[],
  structures: readonly TableStructure[],
): RestageError[] {
  return configs.flatMap((config) => {
    const structure = structures.find((one) => tableKey(one) === tableKey(config.table));
    if (structure === undefined) {
      const near = nearest(formatTable(config.table), structures.map(formatTable));
      return [
        new RestageError('rule_invalid', `a check names a table that is not captured: ${formatTable(config.table)}`, {
          where: atPlace(config.place, `validate, ${config.name}`),
          fix: near === null ? 'correct it, or add the table to source.tables' : `did you mean ${near}?`,
        }),
      ];
    }
    try {
      compileCheck(structure, config, structures);
      return [];
    } catch (error) {
      if (error instanceof RestageError) return [error];
      throw error;
    }
  });
}

function compileCheck(
  structure: TableStructure,
  config: ValidationConfig,
  captured: readonly TableStructure[],
): RowCheck | SumCheck | RelationCheck {
  const { check } = config;
  const where = atPlace(config.place, `validate, ${config.name}`);
  const stored = structure.columns.filter(({ generated }) => !generated);
  const fail = (what: string, fix?: string): never => {
    throw new RestageError('rule_invalid', what, { where, ...(fix === undefined ? {} : { fix }) });
  };
  const column = (name: string): ColumnStructure => columnOf(structure, stored, name, fail);
  const ofColumn = (name: string, fault: (text: string) => string): RowCheck => {
    column(name);
    return {
      config,
      reads: [name],
      fault(row) {
        const text = cellText(row[name] ?? null);
        return text === null ? '' : fault(text);
      },
    };
  };
  switch (check.kind) {
    case 'notNull':
      for (const name of check.columns) column(name);
      return { config, reads: check.columns, fault: (row: Row) => nullsIn(row, check.columns) };
    case 'range':
      requireNumber(column(check.column), fail);
      return ofColumn(check.column, rangeFault(check));
    case 'pattern':
      return ofColumn(check.column, patternFault(check.matches, fail));
    case 'oneOf': {
      const values = new Set(check.values);
      return ofColumn(check.column, (text) =>
        values.has(text) ? '' : `column ${check.column} has none of the values`,
      );
    }
    case 'jsonSchema':
      return ofColumn(check.column, schemaFault(check, column(check.column), fail));
    case 'unique':
      return uniqueCheck(config, check.columns.map(column), structure, where);
    case 'reference':
      return compileReference(config, check, structure, captured, where);
    case 'sum':
      return sumCheck(config, check, structure, column, fail);
    case 'test':
      return testCheck(config, check.expression, stored, where);
  }
}

type Fail = (what: string, fix?: string) => never;

function columnOf(
  table: TableStructure,
  stored: readonly ColumnStructure[],
  name: string,
  fail: Fail,
): ColumnStructure {
  const found = stored.find((one) => one.name === name);
  if (found !== undefined) return found;
  const near = nearest(
    name,
    stored.map((one) => one.name),
  );
  return fail(`column ${name} is not in ${formatTable(table)}`, near === null ? undefined : `did you mean ${near}?`);
}

function nullsIn(row: Row, names: readonly string[]): string {
  const empty = names.filter((name) => (row[name] ?? null) === null);
  return empty.length === 0 ? '' : `NULL in ${empty.join(', ')}`;
}

const NUMBERS: ReadonlySet<string> = new Set(['int2', 'int4', 'int8', 'numeric', 'float4', 'float8']);

function requireNumber({ name, typeSchema, typeName }: ColumnStructure, fail: Fail): void {
  if (typeSchema !== 'pg_catalog' || !NUMBERS.has(typeName))
    fail(`column ${name} holds no numbers`, 'say it with test, in CEL');
}

function rangeFault({ column, min, max }: Extract<ValidationCheck, { kind: 'range' }>): (text: string) => string {
  const [least, most] = [min, max].map((bound) => (bound === null ? null : Decimal.parse(bound)));
  return (text) => {
    const value = Decimal.parse(text);
    if (least !== null && least !== undefined && value.compare(least) < 0) return `column ${column} is below ${min}`;
    if (most !== null && most !== undefined && value.compare(most) > 0) return `column ${column} is above ${max}`;
    return '';
  };
}

/** A pattern that RE2 does not have would backtrack. */
function patternFault(pattern: string, fail: Fail): (text: string) => string {
  const compiled = compilePattern(pattern, fail);
  return (text) => (compiled.matcher(text).find() ? '' : 'the value does not match');
}

function compilePattern(pattern: string, fail: Fail): RE2JS {
  try {
    return RE2JS.compile(pattern);
  } catch (cause) {
    return fail(
      `the pattern is none of RE2: ${cause instanceof Error ? cause.message : String(cause)}`,
      'RE2 has no look-around and no back-references, whose time may grow without bound',
    );
  }
}

function schemaFault(
  { column, schema }: Extract<ValidationCheck, { kind: 'jsonSchema' }>,
  { typeSchema, typeName }: ColumnStructure,
  fail: Fail,
): (text: string) => string {
  if (typeSchema !== 'pg_catalog' || (typeName !== 'json' && typeName !== 'jsonb'))
    fail(`column ${column} is neither json nor jsonb`);
  const regExp = Object.assign((pattern: string) => testerOf(compilePattern(pattern, fail)), { code: 're2' });
  const ajv = new Ajv({ strict: false, allErrors: false, logger: false, code: { regExp } });
  const validate = (() => {
    try {
      return ajv.compile(JSON.parse(schema) as object);
    } catch (cause) {
      if (cause instanceof RestageError) throw cause;
      return fail(`the JSON Schema cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`);
    }
  })();
  return (text) => {
    if (validate(JSON.parse(text))) return '';
    const [first] = validate.errors ?? [];
    return `column ${column} does not fit its schema: ${first?.instancePath === '' ? 'the value' : (first?.instancePath ?? '')} (${first?.keyword ?? ''})`;
  };
}

/** What Ajv asks of a regular expression. */
function testerOf(pattern: RE2JS): { test(text: string): boolean } {
  return { test: (text) => pattern.matcher(text).find() };
}

/** What a key of the source holds needs no rows to compare. */
function uniqueCheck(
  config: ValidationConfig,
  columns: readonly ColumnStructure[],
  structure: TableStructure,
  where: string,
): RowCheck | RelationCheck {
  const keys = [structure.primaryKey, ...structure.uniques].filter((key) => key.length > 0);
  const reads = columns.map(({ name }) => name);
  const isHeld = keys.some((key) => key.every((name) => reads.includes(name)));
  return isHeld ? { config, reads, fault: () => '' } : compileUnique(config, columns, structure, where);
}

function sumCheck(
  config: ValidationConfig,
  { column: name, equals, within }: Extract<ValidationCheck, { kind: 'sum' }>,
  structure: TableStructure,
  column: (name: string) => ColumnStructure,
  fail: Fail,
): SumCheck {
  const { typeName, typeSchema } = column(name);
  if (typeSchema !== 'pg_catalog' || !/^(int[248]|numeric)$/.test(typeName))
    fail(`column ${name} holds no exact numbers`);
  for (const one of within) column(one);
  if (config.onFailure === 'row') fail('a sum is that of a transaction', 'say stop, transaction or count');
  if (!structure.identity.isFull)
    fail(
      'what an update changes of a sum cannot be told without old values',
      `ALTER TABLE ${quoteTable(structure)} REPLICA IDENTITY FULL;`,
    );
  const of = (row: Row | null, sign: 1 | -1): (readonly [string, Decimal])[] => {
    const text = row === null ? null : cellText(row[name] ?? null);
    if (row === null || text === null) return [];
    const value = Decimal.parse(text);
    return [[JSON.stringify(within.map((one) => row[one] ?? null)), sign === 1 ? value : value.negate()]];
  };
  return {
    config,
    equals: Decimal.parse(equals),
    changes(event) {
      const { old, now } = pairOf(event);
      return [...of(old, -1), ...of(now, 1)];
    },
  };
}

function testCheck(
  config: ValidationConfig,
  expression: string,
  columns: readonly ColumnStructure[],
  where: string,
): RowCheck {
  const compiled = compileExpression(expression, columns, { where });
  if (compiled.kind !== 'bool' && compiled.kind !== 'null')
    throw new RestageError('rule_invalid', `the expression gives ${compiled.kind}, not a bool`, {
      where: `${where}: ${expression}`,
    });
  return {
    config,
    reads: compiled.columns,
    fault(row) {
      try {
        return compiled.test(imageOfColumns(row, compiled.columns)) === false ? `not so: ${expression}` : '';
      } catch (error) {
        if (error instanceof RestageError) return error.message;
        throw error;
      }
    },
  };
}
