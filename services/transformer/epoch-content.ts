import type { EpochReader } from '#core/epoch-reader.ts';
import { LSN_ZERO, parseLsn, type Lsn } from '#core/lsn.ts';
import type { Manifest, StoredManifest } from '#core/manifest.ts';
import { readEventPlace, type KafkaRecord } from '#core/record.ts';
import type { Truncation } from './careful-epoch.ts';
import { readInOrder, type RangeRecord } from './ordered-records.ts';

/** What a manifest has of rows, as the source wrote them. A producer bounds its bytes (invariant 6). */
export interface EpochContent {
  readonly stored: StoredManifest;
  readonly records: readonly RangeRecord[];
  readonly truncations: readonly Truncation[];
}

/** Whether it is the stream's: changes, or that there were none. */
export function isOfStream({ kind }: Manifest): boolean {
  return kind === 'stream' || kind === 'empty';
}

export interface ContentOptions {
  readonly reader: EpochReader;
  readonly stored: StoredManifest;
  readonly rawSchemasTopic: string;
  /** By raw topic: what committed before it is in the table's snapshot. */
  readonly floors: ReadonlyMap<string, Lsn>;
}

/** Whether the table's snapshot has it already. */
export function isBelow(record: KafkaRecord, floor: Lsn = LSN_ZERO): boolean {
  const place = readEventPlace(record);
  return place !== null && place.position.commit < floor;
}

export async function readContent(
  { reader, stored, rawSchemasTopic, floors }: ContentOptions,
  signal: AbortSignal,
): Promise<EpochContent> {
  const { manifest } = stored;
  const ranges = manifest.ranges.filter(({ topic }) => topic !== rawSchemasTopic);
  const records: RangeRecord[] = [];
  if (manifest.kind === 'stream') {
    for await (const one of readInOrder(reader, ranges, signal))
      if (!isBelow(one.record, floors.get(one.range.topic))) records.push(one);
  } else {
    for (const range of ranges)
      for await (const some of reader.read(range, signal)) for (const record of some) records.push({ range, record });
  }
  return { stored, records, truncations: truncationsIn(manifest, floors) };
}

/** The parts of an epoch from one to its last. */
export async function* readEpochParts(
  ahead: EpochReader,
  from: StoredManifest,
  signal: AbortSignal,
  contentOf: (stored: StoredManifest) => Promise<EpochContent>,
): AsyncGenerator<EpochContent> {
  for await (const manifests of ahead.manifests(from.offset, signal)) {
    for (const stored of manifests) {
      const { manifest } = stored;
      if (manifest.kind !== 'stream' || manifest.epoch !== from.manifest.epoch) continue;
      yield await contentOf(stored);
      if (manifest.last) return;
    }
  }
}

export function truncationsIn({ control, commitTime }: Manifest, floors: ReadonlyMap<string, Lsn>): Truncation[] {
  return control.flatMap((entry) => {
    if (entry.kind !== 'truncate') return [];
    const position = { commit: parseLsn(entry.commit), ordinal: entry.ordinal };
    const topics = entry.topics.filter((topic) => position.commit >= (floors.get(topic) ?? LSN_ZERO));
    return [{ position, topics, time: BigInt(entry.commitTime ?? commitTime ?? 0) }];
  });
}

/** The last transaction of the parts before this one, which are written; null for a first part. */
export function lastBefore({ part }: Manifest, last: StoredManifest | null): Lsn | null {
  const lastCommit = part === 1 ? null : (last?.manifest.lastCommit ?? null);
  return lastCommit === null ? null : parseLsn(lastCommit);
}
