import type { EpochReader } from '#core/epoch-reader.ts';
import type { Lsn } from '#core/lsn.ts';
import type { StoredManifest } from '#core/manifest.ts';
import { comparePositions } from '#core/position.ts';
import { readEventPlace } from '#core/record.ts';
import { isBelow, truncationsIn } from './epoch-content.ts';
import { countOps, type OpCounts } from './epoch-figures.ts';
import type { EpochRecords } from './event-shaper-options.ts';
import type { EventShaper } from './event-shaper.ts';
import { readInOrder, type RangeRecord } from './ordered-records.ts';
import { readTogether } from './ranges-together.ts';
import { doJoin, truncateRemembered } from './reached-rows.ts';

export interface RangesToShape {
  readonly reader: EpochReader;
  readonly rawSchemasTopic: string;
  readonly shaper: EventShaper;
  readonly stored: StoredManifest;
  /** By raw topic: what committed before it is in the table's snapshot. */
  readonly floors: ReadonlyMap<string, Lsn>;
}

/** A manifest's records through the rules; in the source's order where rows of different tables come together. */
export async function shapeRanges(
  { reader, rawSchemasTopic, shaper, stored, floors }: RangesToShape,
  out: EpochRecords,
  ops: OpCounts,
  signal: AbortSignal,
): Promise<void> {
  const { manifest } = stored;
  const isStream = manifest.kind === 'stream';
  const truncations = isStream && shaper.state !== null ? truncationsIn(manifest, floors) : [];
  const truncate = async (record: RangeRecord['record'] | null): Promise<void> => {
    const position = record === null ? null : (readEventPlace(record)?.position ?? null);
    for (let [next] = truncations; next !== undefined; [next] = truncations) {
      if (record !== null && (position === null || comparePositions(next.position, position) > 0)) return;
      truncations.shift();
      countOps(ops, await truncateRemembered(shaper, next, stored, out));
    }
  };
  const take = ({ range, record }: RangeRecord): Promise<void> | null => {
    if (isStream && isBelow(record, floors.get(range.topic))) return null;
    if (truncations.length > 0) return truncate(record).then(() => shape(record, range) ?? undefined);
    return shape(record, range);
  };
  const shape = (record: RangeRecord['record'], range: RangeRecord['range']): Promise<void> | null => {
    const given = shaper.shape(record, range, out);
    if (typeof given !== 'string') return given.then((later) => countOps(ops, later));
    countOps(ops, given);
    return null;
  };
  const settle = async (): Promise<void> => countOps(ops, await shaper.settle(signal));
  const ranges = manifest.ranges.filter(({ topic }) => topic !== rawSchemasTopic);
  const topics = ranges.map(({ topic }) => topic);
  if (isStream && (shaper.doMeet(topics) || doJoin(shaper, topics, truncations))) {
    for await (const one of readInOrder(reader, ranges, signal)) {
      const later = take(one);
      if (later !== null) await later;
      if (shaper.isFull) await settle();
    }
  } else {
    for await (const { range, records } of readTogether(reader, ranges, signal))
      for (const record of records) {
        const later = take({ range, record });
        if (later !== null) await later;
        if (shaper.isFull) await settle();
      }
  }
  await truncate(null);
  await settle();
}
