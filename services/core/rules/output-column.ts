import { cellText, type Cell, type Row } from '#core/envelope.ts';
import type { EventPlace } from '#core/rules/event-place.ts';
import { cellOf } from '#core/rules/rows.ts';
import type { Mask } from '#core/rules/values/mask-types.ts';
import type { ColumnStructure } from '#core/structure.ts';

/** A column of a shaped row, and how its value is had from the source's row. */
export interface OutputColumn {
  readonly structure: ColumnStructure;
  /** The columns that it is made from. */
  readonly reads: readonly string[];
  /** Columns of looked up rows that it is made from, by their names in the rule. */
  readonly lookedUp: ReadonlyMap<string, readonly string[]>;
  /** Whether it is one of the source's with its own type: a change of that column is a change of this one. */
  readonly isCopy: boolean;
  /** Whether it is the same whatever the row and its transaction are. */
  readonly isConstant: boolean;
  /** Whether it depends on when the row's transaction was committed. */
  readonly readsTime: boolean;
  /** undefined where the row lacks what it is made from: the value did not change. @throws RestageError rule_failed. */
  cell(row: Row, event: EventPlace): Cell | undefined;
}

/** One of the source's columns whose values are masked: of its own type. */
export function maskedColumn(column: ColumnStructure, name: string, mask: Mask): OutputColumn {
  const from = column.name;
  return {
    ...copyColumn({ ...column, mask: mask.id }, name),
    reads: [from],
    cell: (row) =>
      Object.hasOwn(row, from) ? cellOf(mask.apply(cellText(row[from] ?? null)), column.json) : undefined,
  };
}

export const NOTHING: ReadonlyMap<string, readonly string[]> = new Map();

export function copyColumn(column: ColumnStructure, name: string): OutputColumn {
  const from = column.name;
  return {
    structure: { ...column, name },
    reads: [from],
    lookedUp: NOTHING,
    isCopy: true,
    isConstant: false,
    readsTime: false,
    cell: (row) => (Object.hasOwn(row, from) ? row[from] : undefined),
  };
}
