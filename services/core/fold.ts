import { imageKey, type Image, type RowChange } from '#core/change.ts';
import { RowImage } from '#core/row-image.ts';

/** A table's changes of one segment, folded to the last state per row; applied in this order. */
export interface FoldedTable {
  /** Keys as they were before the segment. */
  readonly deletes: readonly Image[];
  /** Rows whose key changes. */
  readonly renames: readonly RowUpdate[];
  readonly updates: readonly RowUpdate[];
  readonly inserts: readonly Image[];
}

export interface RowUpdate {
  readonly key: Image;
  readonly set: Image;
}

interface RowState {
  /** The key before the segment; null for a row that the segment inserts. */
  readonly origin: Image | null;
  readonly columns: Image;
}

/**
 * Folds changes column by column per row identity, following key changes as renames. Right only where equal text means an
 * equal key; the caller does not fold other tables.
 */
export function foldChanges(changes: readonly RowChange[], identity: readonly string[]): FoldedTable {
  const rows = new Map<string, RowState>();
  const deletes: Image[] = [];
  for (const change of changes) foldOne(change, identity, rows, deletes);
  const renames: RowUpdate[] = [];
  const updates: RowUpdate[] = [];
  const inserts: Image[] = [];
  for (const [current, { origin, columns }] of rows) {
    if (origin === null) inserts.push(columns);
    else if (imageKey(origin, identity) === current) updates.push({ key: origin, set: columns });
    else renames.push({ key: origin, set: columns });
  }
  return { deletes, renames, updates, inserts };
}

function foldOne(change: RowChange, identity: readonly string[], rows: Map<string, RowState>, deletes: Image[]): void {
  if (change.kind === 'insert') {
    rows.set(imageKey(change.after, identity), { origin: null, columns: change.after });
    return;
  }
  const key = imageKey(change.key, identity);
  const known = rows.get(key);
  if (change.kind === 'delete') {
    rows.delete(key);
    if (known === undefined) deletes.push(change.key);
    else if (known.origin !== null) deletes.push(known.origin);
    return;
  }
  const state: RowState =
    known === undefined
      ? { origin: change.key, columns: change.after }
      : { origin: known.origin, columns: merge(known.columns, change.after) };
  const current = currentKey(change, identity);
  if (current !== key) rows.delete(key);
  rows.set(current, state);
}

/** The older columns with the newer ones over them. */
function merge(older: Image, newer: Image): Image {
  if (older instanceof RowImage && newer instanceof RowImage && older.columns === newer.columns) return newer;
  return new Map([...older, ...newer]);
}

/** The row's key after an update; an unchanged, toasted key column stands in the old key only. */
function currentKey(change: Extract<RowChange, { kind: 'update' }>, identity: readonly string[]): string {
  const isWhole = identity.every((column) => change.after.has(column));
  return imageKey(isWhole ? change.after : new Map([...change.key, ...change.after]), identity);
}
