import { placeKey } from '#core/record-counts.ts';
import type { DecodedBatch } from './record-batch-decoder.ts';

/** Batches of a partition from one fetch, in offset order. */
export interface FetchedTail {
  readonly batches: readonly DecodedBatch[];
  /** What they keep in memory: all that the fetch brought. */
  readonly bytes: number;
}

/**
 * What a fetch brought beyond the range that was asked for, kept for the next one: a reader that is behind finds many small epochs in one
 * fetch. Nobody is given an offset that no manifest names, and what lies below a partition's high watermark does not change any more.
 * Bounded in bytes (invariant 6): the partition that was read longest ago goes first.
 */
export class FetchedTails {
  readonly #mostBytes: number;
  readonly #tails = new Map<string, FetchedTail>();
  #bytes = 0;

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  /** Takes the batches from the one with `offset` on; null where it is not among them. */
  take(topic: string, partition: number, offset: bigint): FetchedTail | null {
    const place = placeKey({ topic, partition });
    const tail = this.#tails.get(place);
    if (tail === undefined) return null;
    this.#tails.delete(place);
    this.#bytes -= tail.bytes;
    const from = tail.batches.findIndex(({ lastOffset }) => lastOffset >= offset);
    const first = tail.batches[from];
    return first === undefined || first.baseOffset > offset ? null : { ...tail, batches: tail.batches.slice(from) };
  }

  keep(topic: string, partition: number, tail: FetchedTail): void {
    if (tail.batches.length === 0 || tail.bytes > this.#mostBytes) return;
    const place = placeKey({ topic, partition });
    this.#bytes += tail.bytes - (this.#tails.get(place)?.bytes ?? 0);
    this.#tails.delete(place);
    this.#tails.set(place, tail);
    for (const [oldest, { bytes }] of this.#tails) {
      if (this.#bytes <= this.#mostBytes) return;
      this.#tails.delete(oldest);
      this.#bytes -= bytes;
    }
  }
}
