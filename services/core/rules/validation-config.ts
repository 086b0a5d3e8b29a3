import type { OptionReader } from '#core/option-reader.ts';
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
  /** By column of the other table's key, the column of this row that has its value. */
  | { readonly kind: 'reference'; readonly other: TableName; readonly on: ReadonlyMap<string, string> }
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

const TABLE_FORM = 'write it as schema.table, parts with a dot in double quotes';

/** The checks of one output. What is wrong is reported to the reader. */
export function readValidations(reader: OptionReader, output: number): ValidationConfig[] {
  const all: ValidationConfig[] = [];
  for (let at = 0; at < reader.count('transform.outputs[].validate[]', output); at += 1) {
    const given = reader.get('transform.outputs[].validate[].table', output, at) ?? '';
    const table = parseTableName(given);
    if (table === null) {
      if (given !== '') reader.report('transform.outputs[].validate[].table', [output, at], TABLE_FORM);
      continue;
    }
    const [check, ...others] = readChecks(reader, output, at);
    if (check === undefined || others.length > 0) {
      const what = `give one check: notNull, range, pattern, oneOf, jsonSchema, unique, reference, sum or test${check === undefined ? '' : `, not ${others.length + 1}`}`;
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
  const referred = reader.get('transform.outputs[].validate[].reference.table', output, at);
  const on = reader.get('transform.outputs[].validate[].reference.on.*', output, at);
  if (referred !== null) {
    const other = parseTableName(referred);
    const what = other === null ? TABLE_FORM : 'a reference needs on: { column of its key: column of this row }';
    if (other === null || on === undefined || on.size === 0)
      reader.report('transform.outputs[].validate[].reference.table', [output, at], what);
    if (other !== null) checks.push({ kind: 'reference', other, on: on ?? new Map() });
  }
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
    case 'reference':
      return `${[...check.on.values()].join(', ')} in ${formatTable(check.other)}`;
    default:
      return `${check.kind} ${check.column}`;
  }
}
