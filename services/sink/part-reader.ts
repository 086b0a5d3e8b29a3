import type { Image, RowChange } from '#core/change.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { Lsn } from '#core/lsn.ts';
import type { Manifest, ManifestRange } from '#core/manifest.ts';
import { RestageError } from '#core/errors.ts';
import { comparePositions, type Position } from '#core/position.ts';
import { readEventPlace, valueRangeOf } from '#core/record.ts';
import type { TableStructure } from '#core/structure.ts';
import { parseChange, parseKey } from './event-parser.ts';
import type { TableChanges } from './segment-apply.ts';
import type { StructureBook } from './structure-book.ts';
import type { TargetCatalog } from './target.ts';

/** A topic's changes of one structure, in order. */
export interface StructureChanges {
  readonly structure: TableStructure;
  readonly version: number;
  readonly changes: readonly RowChange[];
}

/** A part as it stands in Kafka, not yet matched with the target: it may be read while another is applied. */
export interface ReadPart {
  readonly groups: readonly StructureChanges[];
  readonly bytes: number;
  /** Records that are no events of their table: the policy decides what becomes of them. */
  readonly unusable: readonly UnusableRecord[];
}

export interface UnusableRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** null where its headers do not say. */
  readonly position: Position | null;
  /** Its own, or the table's newest. */
  readonly structure: TableStructure;
  /** The row's identity, where its key can be read. */
  readonly key: Image | null;
  readonly error: RestageError;
}

/**
 * The changes of a part; a producer bounds its bytes (invariant 6). Those that committed before a topic's floor are dropped: its
 * snapshot or the target has them already. Incomplete when aborted: the caller must not apply it then.
 */
export async function readPart(
  reader: EpochReader,
  structures: StructureBook,
  floorOf: (topic: string) => Lsn,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<ReadPart> {
  await structures.learn(manifest, signal);
  const parts = await Promise.all(
    structures.eventRanges(manifest).map((range) => readRange(reader, structures, floorOf(range.topic), range, signal)),
  );
  return {
    groups: mergePartitions(parts.map((part) => part.groups)),
    bytes: parts.reduce((sum, part) => sum + part.bytes, 0),
    unusable: parts.flatMap((part) => part.unusable),
  };
}

/** The changes that committed before an LSN: whole transactions, since a transaction's changes share theirs. */
export function cutPart(part: ReadPart, before: Lsn): ReadPart {
  return {
    groups: filterChanges(part.groups, ({ position }) => position.commit < before),
    bytes: part.bytes,
    unusable: part.unusable.filter(({ position }) => position === null || position.commit < before),
  };
}

export function filterChanges(
  groups: readonly StructureChanges[],
  keep: (change: RowChange) => boolean,
): StructureChanges[] {
  return groups
    .map((group) => ({ ...group, changes: group.changes.filter(keep) }))
    .filter(({ changes }) => changes.length > 0);
}

/** With the tables of the target that they go to. @throws as TargetCatalog.table. */
export async function matchTables(
  structures: StructureBook,
  catalog: Pick<TargetCatalog, 'table'>,
  groups: readonly StructureChanges[],
): Promise<TableChanges[]> {
  const tables: TableChanges[] = [];
  for (const { structure, version, changes } of groups)
    tables.push({ table: await structures.table(catalog, structure, version), changes });
  return tables;
}

/** Of a topic of several partitions: its changes as the source made them. Of each range, the changes are in their order already. */
function mergePartitions(ranges: readonly (readonly StructureChanges[])[]): StructureChanges[] {
  const byTopic = new Map<string, (readonly StructureChanges[])[]>();
  for (const groups of ranges) {
    const topic = groups[0]?.structure.topic;
    if (topic === undefined) continue;
    const known = byTopic.get(topic);
    if (known === undefined) byTopic.set(topic, [groups]);
    else known.push(groups);
  }
  return [...byTopic.values()].flatMap((lists) => (lists.length === 1 ? (lists[0] ?? []) : mergeGroups(lists)));
}

interface MergeCursor {
  readonly groups: readonly StructureChanges[];
  group: number;
  at: number;
}

function mergeGroups(lists: readonly (readonly StructureChanges[])[]): StructureChanges[] {
  const cursors = lists.map((groups): MergeCursor => {
    const filled = groups.filter(({ changes }) => changes.length > 0);
    return { groups: filled, group: 0, at: 0 };
  });
  const merged: { structure: TableStructure; version: number; changes: RowChange[] }[] = [];
  for (;;) {
    let next: MergeCursor | null = null;
    let first: RowChange | null = null;
    for (const cursor of cursors) {
      const change = cursor.groups[cursor.group]?.changes[cursor.at];
      if (change === undefined || (first !== null && comparePositions(change.position, first.position) >= 0)) continue;
      next = cursor;
      first = change;
    }
    const from = next?.groups[next.group];
    if (next === null || first === null || from === undefined) return merged;
    const newest = merged.at(-1);
    if (newest?.version === from.version) newest.changes.push(first);
    else merged.push({ structure: from.structure, version: from.version, changes: [first] });
    next.at += 1;
    if (next.at < from.changes.length) continue;
    next.group += 1;
    next.at = 0;
  }
}

/** Usually of one structure, so one group. */
async function readRange(
  reader: EpochReader,
  structures: StructureBook,
  floor: Lsn,
  range: ManifestRange,
  signal: AbortSignal,
): Promise<ReadPart> {
  const groups: { structure: TableStructure; version: number; changes: RowChange[] }[] = [];
  const unusable: UnusableRecord[] = [];
  let bytes = 0;
  let group = groups.at(-1);
  for await (const records of reader.read(range, signal)) {
    for (const record of records) {
      const value = valueRangeOf(record);
      if (value !== null) bytes += value.end - value.from;
      const place = readEventPlace(record);
      if (place !== null && place.position.commit < floor) continue;
      try {
        if (value === null && isTombstone(place?.position, group?.changes.at(-1), unusable.at(-1))) continue;
        if (place !== null && place.structure !== group?.version) {
          group = {
            structure: structures.structure(range.topic, place.structure),
            version: place.structure,
            changes: [],
          };
          groups.push(group);
        }
        const change = parseChange(record, group?.structure ?? structures.newest(range.topic), place?.position);
        group?.changes.push(change);
      } catch (error) {
        if (!(error instanceof RestageError) || error.code !== 'record_invalid') throw error;
        const structure = structures.newest(range.topic);
        const { topic, partition } = range;
        const at = { topic, partition, offset: record.offset, position: place?.position ?? null };
        unusable.push({ ...at, structure, key: parseKey(record, structure), error });
      }
    }
  }
  return { groups, bytes, unusable };
}

/** Whether a record without value is one: it follows its delete and is applied with it. */
function isTombstone(
  position: Position | undefined,
  last: RowChange | undefined,
  lastUnusable: UnusableRecord | undefined,
): boolean {
  if (position === undefined) return false;
  const isOf = (other: Position | null | undefined): boolean =>
    other !== null && other !== undefined && comparePositions(other, position) === 0;
  return (last?.kind === 'delete' && isOf(last.position)) || isOf(lastUnusable?.position);
}
