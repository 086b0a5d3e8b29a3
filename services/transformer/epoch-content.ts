import type { EpochReader } from '#core/epoch-reader.ts';
import { LSN_ZERO, parseLsn, type Lsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import { readStreamHeaders, type KafkaRecord } from '#core/record.ts';
import type { Truncation } from './careful-epoch.ts';
import { readInOrder, type RangeRecord } from './ordered-records.ts';

/** What a manifest has of rows, as the source wrote them. A producer bounds its bytes (invariant 6). */
export interface EpochContent {
  readonly manifest: Manifest;
  readonly records: readonly RangeRecord[];
  readonly truncations: readonly Truncation[];
}

export interface ContentOptions {
  readonly reader: EpochReader;
  readonly manifest: Manifest;
  readonly rawSchemasTopic: string;
  /** By raw topic: what committed before it is in the table's snapshot. */
  readonly floors: ReadonlyMap<string, Lsn>;
}

/** Whether the table's snapshot has it already. */
export function isBelow(record: KafkaRecord, floor: Lsn = LSN_ZERO): boolean {
  const headers = readStreamHeaders(record);
  return headers !== null && headers.position.commit < floor;
}

export async function readContent(
  { reader, manifest, rawSchemasTopic, floors }: ContentOptions,
  signal: AbortSignal,
): Promise<EpochContent> {
  const ranges = manifest.ranges.filter(({ topic }) => topic !== rawSchemasTopic);
  const records: RangeRecord[] = [];
  if (manifest.kind === 'stream') {
    for await (const one of readInOrder(reader, ranges, signal))
      if (!isBelow(one.record, floors.get(one.range.topic))) records.push(one);
  } else {
    for (const range of ranges)
      for await (const some of reader.read(range, signal)) for (const record of some) records.push({ range, record });
  }
  const truncations = manifest.control.flatMap((entry) => {
    if (entry.kind !== 'truncate') return [];
    const position = { commit: parseLsn(entry.commit), ordinal: entry.ordinal };
    return [{ position, topics: entry.topics.filter((topic) => position.commit >= (floors.get(topic) ?? LSN_ZERO)) }];
  });
  return { manifest, records, truncations };
}
