import type { RowChange } from '#core/change.ts';
import type { Lsn } from '#core/lsn.ts';
import { comparePositions, type Position } from '#core/position.ts';
import type { Cut } from './epoch-apply.ts';
import type { ReadPart, StructureChanges, UnusableRecord } from './part-reader.ts';

/** One event of a part: a change with its group, or a record that could not be read. */
export type Item = ChangeItem | UnusableItem;

export interface ChangeItem {
  readonly kind: 'change';
  readonly position: Position;
  readonly change: RowChange;
  readonly group: StructureChanges;
}

interface UnusableItem {
  readonly kind: 'unusable';
  readonly position: Position;
  readonly record: UnusableRecord;
}

/** What is applied or left out together: a source transaction's events in a part, or one of them. */
export interface Unit {
  readonly commit: Lsn;
  readonly items: readonly Item[];
  readonly cuts: readonly Cut[];
}

/** The source's transactions in a part, in the order of their commits, each with its events in order. */
export function splitPart(part: ReadPart, cuts: readonly Cut[]): Unit[] {
  const units = new Map<Lsn, { commit: Lsn; items: Item[]; cuts: Cut[] }>();
  const unitOf = (commit: Lsn): { items: Item[]; cuts: Cut[] } => {
    const known = units.get(commit) ?? { commit, items: [], cuts: [] };
    units.set(commit, known);
    return known;
  };
  for (const group of part.groups) {
    for (const change of group.changes)
      unitOf(change.position.commit).items.push({ kind: 'change', position: change.position, change, group });
  }
  for (const record of part.unusable) {
    const { position } = record;
    if (position !== null) unitOf(position.commit).items.push({ kind: 'unusable', position, record });
  }
  for (const cut of cuts) unitOf(cut.position.commit).cuts.push(cut);
  const all = [...units.values()].toSorted((a, b) => (a.commit < b.commit ? -1 : 1));
  for (const { items } of all) items.sort((a, b) => comparePositions(a.position, b.position));
  return all;
}

/** Each event by itself, TRUNCATE and changes of columns in their places. */
export function splitUnit({ commit, items, cuts }: Unit): Unit[] {
  const single = [
    ...items.map((item) => ({ position: item.position, unit: { commit, items: [item], cuts: [] } })),
    ...cuts.map((cut) => ({ position: cut.position, unit: { commit, items: [], cuts: [cut] } })),
  ];
  // A cut stands before the event at its position.
  single.sort((a, b) => comparePositions(a.position, b.position) || b.unit.cuts.length - a.unit.cuts.length);
  return single.map(({ unit }) => unit);
}

/** The groups of a part with the changes of some units only. */
export function groupsOf(part: ReadPart, units: readonly Unit[]): StructureChanges[] {
  const chosen = new Set<RowChange>();
  for (const { items } of units) for (const item of items) if (item.kind === 'change') chosen.add(item.change);
  return part.groups
    .map((group) => ({ ...group, changes: group.changes.filter((change) => chosen.has(change)) }))
    .filter(({ changes }) => changes.length > 0);
}
