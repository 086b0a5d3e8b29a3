import type { Image, RowChange } from '#core/change.ts';
import type { Row } from '#core/envelope.ts';
import { heldSlots, neededSlots, type SlotTable } from '#core/key-slots.ts';
import { LSN_ZERO } from '#core/lsn.ts';
import type { Position } from '#core/position.ts';
import { imageOfColumns } from '#core/rules/rows.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import type { TableStructure } from '#core/structure.ts';

/** Types whose equal values have one text, as far as a captured structure can tell. */
const EXACT: ReadonlySet<string> = new Set(
  'bool int2 int4 int8 date time timestamp timestamptz uuid oid text varchar name'.split(' '),
);
const NOWHERE: Position = { commit: LSN_ZERO, ordinal: 0 };

/** A table of the source as holding sees it: which rows are the same row. */
export function slotTableOf({ schema, table, identity, columns }: TableStructure): SlotTable {
  const isWhole = identity.columns.length === 0 && identity.isFull;
  if (isWhole) {
    const stored = columns.filter(({ generated }) => !generated).map(({ name }) => name);
    return { schema, table, identity: stored, isExact: true };
  }
  const isExact = identity.columns.every((name) => {
    const column = columns.find((one) => one.name === name);
    return column?.typeSchema === 'pg_catalog' && EXACT.has(column.typeName);
  });
  return { schema, table, identity: identity.columns, isExact };
}

/** What a row event makes others wait at, once it waits itself. */
export function slotsHeldBy(event: RowEvent, table: SlotTable): string[] {
  return [...new Set(heldSlots(changeOf(event, table), table, []))];
}

/** What a row event must not find held. */
export function slotsNeededBy(event: RowEvent, table: SlotTable): string[] {
  return neededSlots(changeOf(event, table), table, []);
}

/** The row's identity, text by column; null for none. */
export function rowKeyOf(
  { key, after, before }: RowEvent,
  { identity }: SlotTable,
): Record<string, string | null> | null {
  const row = key ?? after ?? before;
  if (row === null || identity.length === 0 || key === null) return null;
  return Object.fromEntries(imageOfColumns(row, identity));
}

function changeOf({ op, key, before, after }: RowEvent, { identity }: SlotTable): RowChange {
  const whole = (row: Row | null): Image => (row === null ? new Map() : imageOfColumns(row, Object.keys(row)));
  if (op === 'c' || op === 'r') return { kind: 'insert', position: NOWHERE, after: whole(after ?? key) };
  const hasOld = before !== null && identity.every((name) => Object.hasOwn(before, name));
  const old = hasOld ? imageOfColumns(before, identity) : whole(key);
  const image = before === null ? null : whole(before);
  if (op === 'd') return { kind: 'delete', position: NOWHERE, key: old, before: image };
  // A key that did not change is in the record's key, and in `after` too.
  return {
    kind: 'update',
    position: NOWHERE,
    key: old,
    before: image,
    after: new Map([...whole(key), ...whole(after)]),
  };
}
