import type { Image, RowChange } from '#core/change.ts';
import { lsnOf } from '#core/lsn.ts';
import type { Position } from '#core/position.ts';

/** A row's columns as text, NULL as null. */
export type Cells = Record<string, string | null>;

let ordinal = 0;

/** Positions in the order of the calls: one transaction's. */
export function next(): Position {
  ordinal += 1;
  return { commit: lsnOf(100n), ordinal };
}

export function insert(after: Cells): RowChange {
  return { kind: 'insert', position: next(), after: image(after) };
}

export function update(key: Record<string, string>, after: Cells): RowChange {
  return { kind: 'update', position: next(), key: image(key), before: null, after: image(after) };
}

export function updateWhole(before: Cells, after: Cells): RowChange {
  return { kind: 'update', position: next(), key: new Map(), before: image(before), after: image(after) };
}

export function remove(key: Record<string, string>): RowChange {
  return { kind: 'delete', position: next(), key: image(key), before: null };
}

export function removeWhole(before: Cells): RowChange {
  return { kind: 'delete', position: next(), key: new Map(), before: image(before) };
}

function image(cells: Cells): Image {
  return new Map(Object.entries(cells));
}
