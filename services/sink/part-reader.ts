import type { Image, RowChange } from '#core/change.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { Lsn } from '#core/lsn.ts';
import type { Manifest, ManifestRange } from '#core/manifest.ts';
import { RestageError } from '#core/errors.ts';
import { comparePositions, type Position } from '#core/position.ts';
import { readStreamHeaders, type KafkaRecord } from '#core/record.ts';
import type { TableStructure } from '#core/structure.ts';
import { parseChange, parseKey } from './event-parser.ts';
import type { StructureBook } from './structure-book.ts';

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
    groups: parts.flatMap((part) => part.groups),
    bytes: parts.reduce((sum, part) => sum + part.bytes, 0),
    unusable: parts.flatMap((part) => part.unusable),
  };
}

/** The changes that committed before an LSN: whole transactions, since a transaction's changes share theirs. */
export function cutPart(part: ReadPart, before: Lsn): ReadPart {
  const groups = part.groups.map((group) => ({
    ...group,
    changes: group.changes.filter(({ position }) => position.commit < before),
  }));
  return {
    groups: groups.filter(({ changes }) => changes.length > 0),
    bytes: part.bytes,
    unusable: part.unusable.filter(({ position }) => position === null || position.commit < before),
  };
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
  for await (const records of reader.read(range, signal)) {
    for (const record of records) {
      bytes += record.value?.length ?? 0;
      const headers = readStreamHeaders(record);
      if (headers !== null && headers.position.commit < floor) continue;
      try {
        if (isTombstone(record, headers?.position, groups.at(-1)?.changes.at(-1), unusable.at(-1))) continue;
        const version = headers?.structure ?? groups.at(-1)?.version;
        if (version !== undefined && version !== groups.at(-1)?.version)
          groups.push({ structure: structures.structure(range.topic, version), version, changes: [] });
        const group = groups.at(-1);
        const change = parseChange(record, group?.structure ?? structures.newest(range.topic));
        group?.changes.push(change);
      } catch (error) {
        if (!(error instanceof RestageError) || error.code !== 'record_invalid') throw error;
        const structure = structures.newest(range.topic);
        const { topic, partition } = range;
        const place = { topic, partition, offset: record.offset, position: headers?.position ?? null };
        unusable.push({ ...place, structure, key: parseKey(record, structure), error });
      }
    }
  }
  return { groups, bytes, unusable };
}

/** It follows its delete and is applied with it. */
function isTombstone(
  record: KafkaRecord,
  position: Position | undefined,
  last: RowChange | undefined,
  lastUnusable: UnusableRecord | undefined,
): boolean {
  if (record.value !== null || position === undefined) return false;
  const isOf = (other: Position | null | undefined): boolean =>
    other !== null && other !== undefined && comparePositions(other, position) === 0;
  return (last?.kind === 'delete' && isOf(last.position)) || isOf(lastUnusable?.position);
}
