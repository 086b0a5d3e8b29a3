import { RestageError } from '#core/errors.ts';
import type { EventPlace } from '#core/rules/event-place.ts';
import type { CompiledLookUp } from '#core/rules/look-up.ts';
import { NOTHING, type OutputColumn } from '#core/rules/output-column.ts';
import { cellOf, imageOfColumns } from '#core/rules/rows.ts';
import type { ComputedColumn } from '#core/rules/rule-config.ts';
import { compileCast } from '#core/rules/values/cast.ts';
import { compileExpression } from '#core/rules/values/expression.ts';
import { parseValueType, type ValueType } from '#core/rules/values/value-types.ts';
import { cellText } from '#core/envelope.ts';
import type { ColumnStructure } from '#core/structure.ts';

/** @throws RestageError rule_invalid. */
export function castColumn(column: ColumnStructure, name: string, type: string, place: string): OutputColumn {
  const where = `${place}, columns.cast.${column.name}`;
  const to = parseValueType(type, where);
  const cast = compileCast(column, to, where);
  const from = column.name;
  return {
    structure: columnOf(name, to, column.notNull),
    reads: [from],
    lookedUp: NOTHING,
    isCopy: false,
    isConstant: false,
    readsTime: false,
    cell: (row, event) =>
      Object.hasOwn(row, from)
        ? cellOf(
            at(event, where, () => cast(cellText(row[from] ?? null))),
            to.json,
          )
        : undefined,
  };
}

/** @throws RestageError rule_invalid. */
export function computedColumn(
  { column, type, value }: ComputedColumn,
  columns: readonly ColumnStructure[],
  lookUps: readonly CompiledLookUp[],
  place: string,
): OutputColumn {
  const where = `${place}, set ${column}: ${value}`;
  const result = parseValueType(type, where);
  const stored = columns.filter(({ generated }) => !generated);
  const rows = new Map(lookUps.map((lookUp) => [lookUp.as, lookUp.columns]));
  const expression = compileExpression(value, stored, { where, result, rows });
  const own = expression.columns;
  const by = lookUps.filter(({ as }) => expression.reads.has(as)).flatMap((lookUp) => lookUp.by);
  const reads = [...new Set([...own, ...by])];
  return {
    structure: columnOf(column, result, false),
    reads,
    lookedUp: expression.reads,
    isCopy: false,
    isConstant: reads.length === 0 && expression.reads.size === 0 && !expression.readsTime,
    readsTime: expression.readsTime,
    cell(row, event) {
      if (!reads.every((read) => Object.hasOwn(row, read))) return undefined;
      return cellOf(
        at(event, where, () => expression.evaluate(imageOfColumns(row, own), event)),
        result.json,
      );
    },
  };
}

function columnOf(name: string, type: ValueType, notNull: boolean): ColumnStructure {
  return { ...type, name, notNull, generated: false, identity: '' };
}

/** Adds the event's place to what an expression or a cast says. */
function at<T>(event: EventPlace, where: string, compute: () => T): T {
  try {
    return compute();
  } catch (cause) {
    if (!(cause instanceof RestageError)) throw cause;
    throw new RestageError(cause.code, cause.message, {
      where: `${event.place}; ${where}`,
      cause,
      fix: cause.fix ?? 'make the rule hold for every row; then start the output anew under its next version',
    });
  }
}
