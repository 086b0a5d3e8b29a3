import { z } from 'zod';
import type { OptionReader } from '#core/option-reader.ts';
import type { Option } from '#core/option-table.ts';
import { parseTableName } from '#core/table-text.ts';
import { formatTable, type TableName } from '#core/table-name.ts';

/** What is to hold of a table's rows as the source has them. */
export type ValidationCheck =
  | { readonly kind: 'notNull'; readonly columns: readonly string[] }
  /** Numbers, both bounds included, decimal; null for none. */
  | { readonly kind: 'range'; readonly column: string; readonly min: string | null; readonly max: string | null }
  | { readonly kind: 'pattern'; readonly column: string; readonly matches: string }
  | { readonly kind: 'oneOf'; readonly column: string; readonly values: readonly string[] }
  /** `schema` is its JSON. */
  | { readonly kind: 'jsonSchema'; readonly column: string; readonly schema: string }
  | { readonly kind: 'unique'; readonly columns: readonly string[] }
  /** What a transaction changes of a column's sum, by groups of equal values in `within`. */
  | { readonly kind: 'sum'; readonly column: string; readonly equals: string; readonly within: readonly string[] }
  /** CEL. */
  | { readonly kind: 'test'; readonly expression: string };

/** What becomes of a row that does not pass: `count` lets it pass. */
export const FAILURE_ACTIONS = ['stop', 'transaction', 'row', 'count'] as const;
export type FailureAction = (typeof FAILURE_ACTIONS)[number];

export interface ValidationConfig {
  /** For reports; no two of an output have one. */
  readonly name: string;
  readonly table: TableName;
  readonly check: ValidationCheck;
  readonly onFailure: FailureAction;
  /** File, line and column. */
  readonly place?: string;
}

const text = z.string().min(1);
const columns = z.array(text).min(1);
const number = z.string().regex(/^-?\d+(\.\d+)?$/, 'a decimal number, in quotes');

export const VALIDATION_OPTIONS = [
  {
    path: 'transform.outputs[].validate[].table',
    type: text,
    default: undefined,
    env: null,
    example: 'public.ledger',
    about:
      'A captured table, `schema.table`, whose rows are to pass one check, before any rule. See docs/validation.md.',
  },
  {
    path: 'transform.outputs[].validate[].name',
    type: text,
    default: null,
    derived: 'table and check',
    env: null,
    example: 'legs-balance',
    about: 'Its name in reports and dead letters.',
  },
  {
    path: 'transform.outputs[].validate[].onFailure',
    type: z.enum(FAILURE_ACTIONS),
    default: 'stop',
    env: null,
    example: 'row',
    about:
      'What becomes of a row that does not pass: the transformer stops; its `transaction` or the `row` waits as dead letters; or it passes, and is counted.',
  },
  {
    path: 'transform.outputs[].validate[].notNull',
    type: columns,
    default: null,
    env: null,
    example: '[email]',
    about: 'Columns that hold no NULL.',
  },
  {
    path: 'transform.outputs[].validate[].range.column',
    type: text,
    default: null,
    env: null,
    example: 'amount',
    about: 'A column of numbers. NULL passes, here and in what follows.',
  },
  {
    path: 'transform.outputs[].validate[].range.min',
    type: number,
    default: null,
    env: null,
    example: '"0"',
    about: 'The least value.',
  },
  {
    path: 'transform.outputs[].validate[].range.max',
    type: number,
    default: null,
    env: null,
    example: '"99.95"',
    about: 'The greatest value.',
  },
  {
    path: 'transform.outputs[].validate[].pattern.column',
    type: text,
    default: null,
    env: null,
    example: 'email',
    about: 'A column of text.',
  },
  {
    path: 'transform.outputs[].validate[].pattern.matches',
    type: text,
    default: null,
    env: null,
    example: '"^[^@]+@[^@]+$"',
    about: "RE2's syntax, which takes time that grows with the text alone. It is looked for anywhere in the value.",
  },
  {
    path: 'transform.outputs[].validate[].oneOf.column',
    type: text,
    default: null,
    env: null,
    example: 'state',
    about: 'A column of any type.',
  },
  {
    path: 'transform.outputs[].validate[].oneOf.values',
    type: columns,
    default: null,
    env: null,
    example: '[new, paid]',
    about: 'Its values, as PostgreSQL writes them.',
  },
  {
    path: 'transform.outputs[].validate[].jsonSchema.column',
    type: text,
    default: null,
    env: null,
    example: 'details',
    about: 'A json or jsonb column.',
  },
  {
    path: 'transform.outputs[].validate[].jsonSchema.schema',
    type: text,
    default: null,
    env: null,
    example: `'{"type": "object", "required": ["sku"]}'`,
    about: 'A JSON Schema (draft-07), as JSON. Its patterns are RE2. Numbers are compared as doubles.',
  },
  {
    path: 'transform.outputs[].validate[].unique',
    type: columns,
    default: null,
    env: null,
    example: '[tenant, email]',
    about: 'Columns that no two rows have the same values in: those of a key of the source, which holds it.',
  },
  {
    path: 'transform.outputs[].validate[].sum.column',
    type: text,
    default: null,
    env: null,
    example: 'amount',
    about: 'A column of exact numbers, of whose sum every transaction leaves the same. Needs REPLICA IDENTITY FULL.',
  },
  {
    path: 'transform.outputs[].validate[].sum.equals',
    type: number,
    default: '0',
    env: null,
    example: '"0"',
    about: 'What a transaction changes of the sum.',
  },
  {
    path: 'transform.outputs[].validate[].sum.within',
    type: z.array(text),
    default: [],
    env: null,
    example: '[entry_id]',
    about: 'One sum for each of their values.',
  },
  {
    path: 'transform.outputs[].validate[].test',
    type: text,
    default: null,
    env: null,
    example: '"paid <= amount"',
    about: "CEL over the row's columns, which is not false.",
  },
] as const satisfies readonly Option[];

/** The checks of one output. What is wrong is reported to the reader. */
export function readValidations(reader: OptionReader, output: number): ValidationConfig[] {
  const all: ValidationConfig[] = [];
  for (let at = 0; at < reader.count('transform.outputs[].validate[]', output); at += 1) {
    const given = reader.get('transform.outputs[].validate[].table', output, at) ?? '';
    const table = parseTableName(given);
    if (table === null) {
      if (given !== '')
        reader.report(
          'transform.outputs[].validate[].table',
          [output, at],
          'write it as schema.table, parts with a dot in double quotes',
        );
      continue;
    }
    const [check, ...others] = readChecks(reader, output, at);
    if (check === undefined || others.length > 0) {
      const what = `give one check: notNull, range, pattern, oneOf, jsonSchema, unique, sum or test${check === undefined ? '' : `, not ${others.length + 1}`}`;
      reader.report('transform.outputs[].validate[].table', [output, at], what);
      continue;
    }
    const name =
      reader.get('transform.outputs[].validate[].name', output, at) ?? `${formatTable(table)}: ${describe(check)}`;
    if (all.some((other) => other.name === name))
      reader.report(
        'transform.outputs[].validate[].name',
        [output, at],
        `a second check named ${JSON.stringify(name)}`,
      );
    const place = reader.placeOf('transform.outputs[].validate[].table', output, at);
    all.push({
      name,
      table,
      check,
      onFailure: reader.get('transform.outputs[].validate[].onFailure', output, at),
      ...(place === undefined ? {} : { place }),
    });
  }
  return all;
}

function readChecks(reader: OptionReader, output: number, at: number): ValidationCheck[] {
  const checks: ValidationCheck[] = [];
  const notNull = reader.get('transform.outputs[].validate[].notNull', output, at);
  if (notNull !== null) checks.push({ kind: 'notNull', columns: notNull });
  const ranged = reader.get('transform.outputs[].validate[].range.column', output, at);
  const min = reader.get('transform.outputs[].validate[].range.min', output, at);
  const max = reader.get('transform.outputs[].validate[].range.max', output, at);
  if (ranged !== null && (min !== null || max !== null)) checks.push({ kind: 'range', column: ranged, min, max });
  const matched = reader.get('transform.outputs[].validate[].pattern.column', output, at);
  const matches = reader.get('transform.outputs[].validate[].pattern.matches', output, at);
  if (matched !== null && matches !== null) checks.push({ kind: 'pattern', column: matched, matches });
  const listed = reader.get('transform.outputs[].validate[].oneOf.column', output, at);
  const values = reader.get('transform.outputs[].validate[].oneOf.values', output, at);
  if (listed !== null && values !== null) checks.push({ kind: 'oneOf', column: listed, values });
  const json = reader.get('transform.outputs[].validate[].jsonSchema.column', output, at);
  const schema = reader.get('transform.outputs[].validate[].jsonSchema.schema', output, at);
  if (json !== null && schema !== null) checks.push({ kind: 'jsonSchema', column: json, schema });
  const unique = reader.get('transform.outputs[].validate[].unique', output, at);
  if (unique !== null) checks.push({ kind: 'unique', columns: unique });
  const summed = reader.get('transform.outputs[].validate[].sum.column', output, at);
  const equals = reader.get('transform.outputs[].validate[].sum.equals', output, at);
  const within = reader.get('transform.outputs[].validate[].sum.within', output, at);
  if (summed !== null) checks.push({ kind: 'sum', column: summed, equals, within });
  const expression = reader.get('transform.outputs[].validate[].test', output, at);
  if (expression !== null) checks.push({ kind: 'test', expression });
  return checks;
}

function describe(check: ValidationCheck): string {
  switch (check.kind) {
    case 'notNull':
    case 'unique':
      return `${check.kind} ${check.columns.join(', ')}`;
    case 'test':
      return check.expression;
    default:
      return `${check.kind} ${check.column}`;
  }
}
