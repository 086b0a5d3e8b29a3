import type { EpochReader } from '#core/epoch-reader.ts';
import type { ManifestRange } from '#core/manifest.ts';
import type { KafkaRecord } from '#core/record.ts';

export interface RangeRecords {
  readonly range: ManifestRange;
  readonly records: readonly KafkaRecord[];
}

/** Each has a fetch in memory (invariant 6). */
const AT_ONCE = 8;

/** Records of ranges, one range after another; the first fetches of the next few are asked for together. */
export async function* readTogether(
  reader: Pick<EpochReader, 'read'>,
  ranges: readonly ManifestRange[],
  signal: AbortSignal,
): AsyncGenerator<RangeRecords> {
  for (let from = 0; from < ranges.length; from += AT_ONCE) {
    const begun = ranges.slice(from, from + AT_ONCE).map((range) => {
      const records = reader.read(range, signal)[Symbol.asyncIterator]();
      const first = records.next();
      // Its error is thrown when its turn comes; should another fail before, nobody asks for it.
      first.catch(() => undefined);
      return { range, records, first };
    });
    for (const { range, records, first } of begun)
      for (let next = await first; next.done !== true; next = await records.next())
        yield { range, records: next.value };
  }
}
