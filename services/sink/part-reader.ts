import type { RowChange } from '#core/change.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { Lsn } from '#core/lsn.ts';
import type { Manifest, ManifestRange } from '#core/manifest.ts';
import { readStreamHeaders } from '#core/record.ts';
import type { TableStructure } from '#core/structure.ts';
import { parseChange } from './event-parser.ts';
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
  return { groups: parts.flatMap((part) => part.groups), bytes: parts.reduce((sum, part) => sum + part.bytes, 0) };
}

/** The changes that committed before an LSN: whole transactions, since a transaction's changes share theirs. */
export function cutPart(part: ReadPart, before: Lsn): ReadPart {
  const groups = part.groups.map((group) => ({
    ...group,
    changes: group.changes.filter(({ position }) => position.commit < before),
  }));
  return { groups: groups.filter(({ changes }) => changes.length > 0), bytes: part.bytes };
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
  let bytes = 0;
  for await (const records of reader.read(range, signal)) {
    for (const record of records) {
      bytes += record.value?.length ?? 0;
      if (record.value === null) continue;
      const headers = readStreamHeaders(record);
      if (headers !== null && headers.position.commit < floor) continue;
      const version = headers?.structure ?? groups.at(-1)?.version;
      if (version !== undefined && version !== groups.at(-1)?.version) {
        groups.push({ structure: structures.structure(range.topic, version), version, changes: [] });
      }
      const group = groups.at(-1);
      const change = parseChange(record, group?.structure ?? structures.newest(range.topic));
      if (change !== null) group?.changes.push(change);
    }
  }
  return { groups, bytes };
}
