import type { Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import type { EventPlace } from '#core/rules/event-place.ts';
import { compileFanOut } from '#core/rules/fan-out.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';

/** The rows over which a rule's expressions are evaluated: the table's own, each with what its array brings. */
export interface RowSource {
  readonly columns: readonly ColumnStructure[];
  /** Columns of the table on which it depends how many rows there are. */
  readonly deciding: readonly string[];
  /** The columns of the table behind some of `columns`, each once. */
  ownColumns(names: readonly string[]): string[];
  rows(row: Row, event: EventPlace): Row[];
}

/** @throws RestageError rule_invalid. */
export function makeRowSource(structure: TableStructure, rule: RuleConfig | null, where: string): RowSource {
  const unnest = rule?.unnest ?? null;
  if (unnest === null)
    return {
      columns: structure.columns,
      deciding: [],
      ownColumns: (names) => [...new Set(names)],
      rows: (row) => [row],
    };
  const fan = compileFanOut(unnest, structure.columns, where);
  const added = new Set(fan.columns.map(({ name }) => name));
  const taken = structure.columns.find(({ name }) => added.has(name));
  if (taken !== undefined)
    throw new RestageError('rule_invalid', `unnest gives a column the name of one that is there: ${taken.name}`, {
      where,
      fix: 'give it another name; columns.rename and drop come later',
    });
  return {
    columns: [...structure.columns, ...fan.columns],
    deciding: [unnest.column],
    ownColumns: (names) => [...new Set(names.map((name) => (added.has(name) ? unnest.column : name)))],
    rows: (row, { place }) => fan.expand(requireColumn(row, unnest.column, place, where), place),
  };
}

function requireColumn(row: Row, column: string, place: string, where: string): Row {
  if (Object.hasOwn(row, column)) return row;
  throw new RestageError('rule_failed', `an event does not carry column ${column}, which a rule reads`, {
    where: `${place}; ${where}`,
    fix: 'set REPLICA IDENTITY FULL for the source table; then start the output anew under its next version',
  });
}
