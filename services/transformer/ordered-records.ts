import type { EpochReader } from '#core/epoch-reader.ts';
import type { ManifestRange } from '#core/manifest.ts';
import { comparePositions, type Position } from '#core/position.ts';
import { readEventPlace, type KafkaRecord } from '#core/record.ts';

export interface RangeRecord {
  readonly range: ManifestRange;
  readonly record: KafkaRecord;
}

/** The records of several ranges of one epoch as the source wrote them: by position, each range in its own order. */
export async function* readInOrder(
  reader: EpochReader,
  ranges: readonly ManifestRange[],
  signal: AbortSignal,
): AsyncGenerator<RangeRecord> {
  const cursors = await Promise.all(ranges.map((range) => Cursor.open(reader, range, signal)));
  for (;;) {
    let next: Cursor | null = null;
    for (const cursor of cursors) if (cursor.record !== null && (next === null || cursor.isBefore(next))) next = cursor;
    if (next?.record == null) return;
    yield { range: next.range, record: next.record };
    await next.advance();
  }
}

class Cursor {
  readonly range: ManifestRange;
  record: KafkaRecord | null = null;
  readonly #chunks: AsyncIterator<readonly KafkaRecord[]>;
  #records: readonly KafkaRecord[] = [];
  #at = 0;
  #position: Position | null = null;

  static async open(reader: EpochReader, range: ManifestRange, signal: AbortSignal): Promise<Cursor> {
    const cursor = new Cursor(range, reader.read(range, signal)[Symbol.asyncIterator]());
    await cursor.advance();
    return cursor;
  }

  private constructor(range: ManifestRange, chunks: AsyncIterator<readonly KafkaRecord[]>) {
    this.range = range;
    this.#chunks = chunks;
  }

  async advance(): Promise<void> {
    while (this.#at >= this.#records.length) {
      const next = await this.#chunks.next();
      if (next.done === true) {
        this.record = null;
        return;
      }
      this.#records = next.value;
      this.#at = 0;
    }
    this.record = this.#records[this.#at] ?? null;
    this.#at += 1;
    const headers = this.record === null ? null : readEventPlace(this.record);
    // A record without a position follows the one before it.
    this.#position = headers?.position ?? this.#position;
  }

  isBefore(other: Cursor): boolean {
    if (this.#position === null || other.#position === null) return this.#position === null && other.#position !== null;
    return comparePositions(this.#position, other.#position) < 0;
  }
}
