import type { ComputedFacts, TableFacts } from '#adapters/postgres/source/table-facts.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { isAfter } from '#core/xid.ts';
import type { KnownTable } from './captured-table.ts';

/** What the catalog and the stream together say of a table whose generated columns are asked for. */
export interface ComputedQuestion {
  readonly before: KnownTable;
  /** The columns that the events to come have. */
  readonly sent: readonly ColumnStructure[];
  /** Their numbers; null where nobody can tell them. */
  readonly numbers: ReadonlyMap<string, number> | null;
  /** The catalog's; null where the table is gone. */
  readonly now: TableStructure | null;
  readonly facts: TableFacts | null;
  /** Of the open transaction; null where there is none. */
  readonly xid: number | null;
}

/** Generated columns that are not in the events to come, and are in their structure. */
export interface ComputedColumns {
  readonly columns: ReadonlyMap<string, ColumnStructure>;
  /** pg_attribute.attnum. */
  readonly numbers: ReadonlyMap<string, number>;
  /** The catalog has some that the stream may not have reached: from this transaction on (its xid) it has. null for none. */
  readonly due: number | null;
}

/**
 * Events do not carry generated columns, so a Relation message does not announce them, and the catalog may be ahead. ALTER TABLE and changes
 * of the table keep each other waiting: a column that an earlier transaction wrote than the open one was there before, by all appearances.
 * One that went goes at once: no event misses it.
 */
export function findComputed(question: ComputedQuestion): ComputedColumns {
  const { before, sent, numbers, now, facts } = question;
  const columns = new Map<string, ColumnStructure>();
  const own = new Map<string, number>();
  const isSent = (name: string): boolean => sent.some((column) => column.name === name);
  const take = (column: ColumnStructure, number: number | undefined): void => {
    if (isSent(column.name)) return;
    columns.set(column.name, column);
    if (number !== undefined) own.set(column.name, number);
  };
  const earlier = before.structure.columns.filter(({ generated }) => generated);
  const earlierNumber = ({ name }: ColumnStructure): number | undefined => before.source?.numbers.get(name);
  if (now === null || facts === null || numbers === null) {
    for (const column of earlier) take(column, earlierNumber(column));
    return { columns, numbers: own, due: null };
  }
  const due: number[] = [];
  for (const column of now.columns) {
    const number = facts.numbers.get(column.name);
    const known = earlier.find((one) => (earlierNumber(one) ?? facts.numbers.get(one.name)) === number);
    const computed = facts.columns.get(column.name)?.computed ?? null;
    if (computed === null) {
      // Its expression was dropped; until then the stream does not send it.
      if (known !== undefined && !isSent(column.name)) take(known, number);
      continue;
    }
    const isReached = before.source === null || isSameColumn(known, column) || hasReached(question, computed, due);
    if (isReached) take(column, number);
    else if (known !== undefined) take(known, number);
  }
  return { columns, numbers: own, due: due.length === 0 ? null : due.reduce((a, b) => (isAfter(a, b) ? a : b)) };
}

function isSameColumn(a: ColumnStructure | undefined, b: ColumnStructure): boolean {
  return (
    a?.name === b.name && a.type === b.type && a.generated && a.generation?.expression === b.generation?.expression
  );
}

/** Whether a generated column as the catalog has it now was there when the open transaction changed the table; else when it will be. */
function hasReached(
  { sent, numbers, now, facts, xid }: ComputedQuestion,
  computed: ComputedFacts,
  due: number[],
): boolean {
  const later = xid === null ? [] : computed.writtenBy.filter((writer) => isAfter(writer, xid));
  due.push(...later);
  const isAsNow = (name: string): boolean => {
    const column = sent.find((one) => one.name === name);
    const isSameType = column?.type === now?.columns.find((one) => one.name === name)?.type;
    return column !== undefined && isSameType && numbers?.get(name) === facts?.numbers.get(name);
  };
  // Where what it is computed from is not as it was, a Relation message is to come.
  return later.length === 0 && computed.reads.every(isAsNow);
}
