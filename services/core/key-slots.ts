import { createHash } from 'node:crypto';
import type { Image, RowChange } from '#core/change.ts';
import { tableKey, type TableName } from '#core/table-name.ts';

/** A foreign key of the target. `isExact`: equal values have equal text at both ends. */
export interface KeyLink {
  readonly child: TableName;
  readonly childColumns: readonly string[];
  readonly parent: TableName;
  readonly parentColumns: readonly string[];
  readonly isExact: boolean;
}

/** A table as holding sees it. `isExact`: equal keys have equal text; where not, the table's rows wait for each other. */
export interface SlotTable extends TableName {
  /** The row's identity; all its columns where it has none and old rows come whole. */
  readonly identity: readonly string[];
  readonly isExact: boolean;
}

/**
 * `key`: a row that is not as it should be. `parent`: a value that children refer to and that may not be there yet. `child`: a value that
 * held rows refer to, so that its row must stay.
 */
interface Slot {
  readonly kind: 'key' | 'parent' | 'child';
  readonly table: TableName;
  /** Those that a foreign key refers to; none for the row itself. */
  readonly columns: readonly string[];
  /** null where they are not known: any row of the table. */
  readonly values: readonly string[] | null;
}

/**
 * What a change that becomes a dead letter makes others wait at, as hashes: a row's later changes at its key, children at the parent that
 * is missing, a parent's delete at what still refers to it. Met with `neededSlots` of later changes: never one too few, and one too many
 * where an event does not carry old values.
 */
export function heldSlots(change: RowChange, table: SlotTable, links: readonly KeyLink[]): string[] {
  const slots = rowSlots(change, table);
  for (const link of links) {
    if (isSame(link.parent, table) && change.kind !== 'delete' && mayMove(change, link.parentColumns))
      slots.push(...slotOf('parent', link, change.after, link.parentColumns));
    if (!isSame(link.child, table)) continue;
    if (change.kind !== 'insert') slots.push(...slotOf('child', link, oldImage(change), link.childColumns));
    if (change.kind !== 'delete') slots.push(...slotOf('child', link, newImage(change), link.childColumns));
  }
  return slots.flatMap(hashHeld);
}

/** What a change must not find held. */
export function neededSlots(change: RowChange, table: SlotTable, links: readonly KeyLink[]): string[] {
  const slots = rowSlots(change, table);
  for (const link of links) {
    // A reference that the event does not carry did not change.
    if (
      isSame(link.child, table) &&
      change.kind !== 'delete' &&
      link.childColumns.some((name) => change.after.has(name))
    )
      slots.push(...slotOf('parent', link, newImage(change), link.childColumns));
    if (isSame(link.parent, table) && change.kind !== 'insert' && mayMove(change, link.parentColumns))
      slots.push(...slotOf('child', link, oldImage(change), link.parentColumns));
  }
  return slots.flatMap(hashNeeded);
}

/** Of a record that cannot be read, or of a TRUNCATE: any row of the table, unless the key is known. */
export function heldTableSlots(table: SlotTable, key: Image | null, links: readonly KeyLink[]): string[] {
  const slots: Slot[] = [keySlot(table, key)];
  for (const link of links) {
    const { child, parent, parentColumns: columns } = link;
    if (isSame(parent, table)) slots.push(...slotOf('parent', link, key ?? new Map(), columns));
    if (isSame(child, table)) slots.push({ kind: 'child', table: parent, columns, values: null });
  }
  return slots.flatMap(hashHeld);
}

/** Of what concerns every row of a table: TRUNCATE, and changes of its structure. */
export function neededTableSlots(table: SlotTable, links: readonly KeyLink[]): string[] {
  const slots: Slot[] = [keySlot(table, null)];
  for (const { parent, parentColumns: columns } of links)
    if (isSame(parent, table)) slots.push({ kind: 'child', table: parent, columns, values: null });
  return slots.flatMap(hashNeeded);
}

function rowSlots(change: RowChange, table: SlotTable): Slot[] {
  if (table.identity.length === 0) return [];
  const slots: Slot[] = [];
  if (change.kind !== 'insert') slots.push(keySlot(table, oldImage(change)));
  if (change.kind !== 'delete') slots.push(keySlot(table, newImage(change)));
  return slots;
}

function keySlot(table: SlotTable, image: Image | null): Slot {
  const cells = table.isExact && image !== null ? table.identity.map((name) => image.get(name)) : null;
  const isKnown = cells !== null && cells.every((cell) => cell !== undefined);
  // NULL is a value like others here: a table without identity has such rows.
  const values = isKnown ? cells.map((cell) => JSON.stringify(cell)) : null;
  return { kind: 'key', table, columns: [], values };
}

/** None where a column is NULL: then nothing is referred to (PostgreSQL: "CREATE TABLE", MATCH SIMPLE). */
function slotOf(kind: 'parent' | 'child', link: KeyLink, image: Image, from: readonly string[]): Slot[] {
  const cells = from.map((name) => image.get(name));
  if (cells.includes(null)) return [];
  const isKnown = link.isExact && cells.every((cell) => cell !== undefined);
  const values = isKnown ? cells.map((cell) => JSON.stringify(cell)) : null;
  return [{ kind, table: link.parent, columns: link.parentColumns, values }];
}

/** Whether the values of these columns may be others after the change. */
function mayMove(change: RowChange, columns: readonly string[]): boolean {
  if (change.kind !== 'update') return true;
  const old = oldImage(change);
  return columns.some((name) => change.after.has(name) && change.after.get(name) !== old.get(name));
}

function oldImage(change: Exclude<RowChange, { kind: 'insert' }>): Image {
  return change.before ?? change.key;
}

/** With the values that did not change, where the old image has them. */
function newImage(change: Exclude<RowChange, { kind: 'delete' }>): Image {
  return change.kind === 'insert' ? change.after : new Map([...oldImage(change), ...change.after]);
}

function isSame(a: TableName, b: TableName): boolean {
  return a.schema === b.schema && a.table === b.table;
}

function hashHeld(slot: Slot): string[] {
  return slot.values === null ? [hash(slot, 'all'), hash(slot, 'some')] : [hash(slot, slot.values), hash(slot, 'some')];
}

function hashNeeded(slot: Slot): string[] {
  return slot.values === null ? [hash(slot, 'some')] : [hash(slot, slot.values), hash(slot, 'all')];
}

/** 16 bytes in hexadecimal: a target holds no values that only name a row. */
function hash({ kind, table, columns }: Slot, values: readonly string[] | 'some' | 'all'): string {
  const text = JSON.stringify([kind, tableKey(table), columns, values]);
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}
