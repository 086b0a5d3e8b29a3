import type { Image } from '#core/change.ts';
import { RestageError } from '#core/errors.ts';
import { atPlace } from '#core/rules/rule-place.ts';
import type { EventPlace } from '#core/rules/event-place.ts';
import { compileExpression } from '#core/rules/values/expression.ts';
import type { ExpressionOptions } from '#core/rules/values/expression-types.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteTable } from '#core/table-name.ts';

/**
 * A row filter with SQL's three values: what depends on a NULL is unknown, and a row passes only where the whole is true
 * (PostgreSQL: "Comparison Functions and Operators"). `x == null` and `x != null` ask for NULL itself.
 */
export interface Where {
  /** The columns that it reads. */
  readonly columns: readonly string[];
  /** Columns of looked up rows that it reads, by their names in the rule. */
  readonly reads: ReadonlyMap<string, readonly string[]>;
  /** @throws RestageError rule_failed, also for a column that the image lacks; record_invalid. */
  passes(image: Image, event?: EventPlace): boolean;
}

/** Checked against the structure before the first row. @throws RestageError rule_invalid. */
export function compileWhere(
  expression: string,
  structure: TableStructure,
  rows: ExpressionOptions['rows'] = new Map(),
  place?: string,
): Where {
  const where = atPlace(place, `rule for ${formatTable(structure)}, where`);
  const compiled = compileExpression(expression, structure.columns, { where, rows });
  if (compiled.kind !== 'bool' && compiled.kind !== 'null')
    throw new RestageError('rule_invalid', `the expression gives ${compiled.kind}, not a bool`, {
      where: `${where}: ${expression}`,
    });
  return {
    columns: compiled.columns,
    reads: compiled.reads,
    passes: (image, event = { place: 'a row' }) => {
      try {
        return compiled.test(image, event) === true;
      } catch (error) {
        if (!(error instanceof RestageError)) throw error;
        throw placed(error, `${event.place}; ${where}: ${expression}`, structure, compiled.columns, image);
      }
    },
  };
}

function placed(
  error: RestageError,
  where: string,
  structure: TableStructure,
  columns: readonly string[],
  image: Image,
): RestageError {
  const isAbsent = columns.some((column) => !image.has(column));
  const change = isAbsent
    ? `ALTER TABLE ${quoteTable(structure)} REPLICA IDENTITY FULL;`
    : 'make the expression hold for every row;';
  return new RestageError(error.code, error.message, {
    where,
    cause: error,
    ...(error.code === 'rule_failed' ? { fix: `${change} then start the output anew under its next version` } : {}),
  });
}
