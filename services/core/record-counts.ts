import type { PartitionRecords, RecordCount } from '#core/epoch-writer.ts';
import type { ManifestRange } from '#core/manifest.ts';

/** Of each partition, in the order of the first. */
export function countRecords(data: readonly PartitionRecords[]): RecordCount[] {
  const counts = new Map<string, RecordCount>();
  for (const { topic, partition, batches } of data) {
    const place = placeKey({ topic, partition });
    const count = batches.reduce((sum, batch) => sum + batch.count, counts.get(place)?.count ?? 0);
    counts.set(place, { topic, partition, count });
  }
  return [...counts.values()];
}

/** Gives out the records of one transaction, whose offsets are contiguous in each partition, to its manifests in their order. */
export class RangeCutter {
  readonly #written: ReadonlyMap<string, ManifestRange>;
  readonly #given = new Map<string, number>();

  /** By placeKey. */
  constructor(written: ReadonlyMap<string, ManifestRange>) {
    this.#written = written;
  }

  next(counts: readonly RecordCount[]): ManifestRange[] {
    return counts.flatMap(({ topic, partition, count }) => {
      const place = placeKey({ topic, partition });
      const whole = this.#written.get(place);
      if (whole === undefined || count === 0) return [];
      const given = this.#given.get(place) ?? 0;
      this.#given.set(place, given + count);
      const first = BigInt(whole.first) + BigInt(given);
      return { topic, partition, first: String(first), last: String(first + BigInt(count) - 1n), count };
    });
  }
}

export function placeKey({ topic, partition }: Pick<RecordCount, 'topic' | 'partition'>): string {
  return `${topic}/${partition}`;
}
