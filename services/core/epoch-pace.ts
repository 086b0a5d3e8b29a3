/** Of its time, a writer leaves three fifths to whoever gathers the next epoch, reads this one and applies it: less, and everybody waits for the processor. */
const PAUSE_PER_WRITE = 1.5;
const MOST_PAUSE_MS = 200;
/** How much of the average the last write is. */
const NEWEST_SHARE = 0.25;

/**
 * When an open epoch is to be written, by measurement: at once where the writer has rested, else once it has rested for a multiple of what
 * a write takes of late. So a commit at rest waits for nobody, and the slower writes are, the more each of them carries. A pure state machine.
 */
export class EpochPace {
  readonly #fixedMs: number | null;
  #averageMs = 0;
  #endedAt: number;

  /** `fixedMs`: how long an epoch's oldest event waits for others whatever was measured; null: by measurement. Clock in milliseconds. */
  constructor(fixedMs: number | null, now: number) {
    this.#fixedMs = fixedMs;
    this.#endedAt = now;
  }

  /** A stream epoch was written. */
  wrote(startedAt: number, endedAt: number): void {
    this.#averageMs += (Math.max(0, endedAt - startedAt) - this.#averageMs) * NEWEST_SHARE;
    this.#endedAt = endedAt;
  }

  /** How long an epoch is to wait yet whose oldest event came at `openedAt`; 0: it is due. */
  waitMs(openedAt: number, now: number): number {
    const dueAt =
      this.#fixedMs === null
        ? this.#endedAt + Math.min(MOST_PAUSE_MS, this.#averageMs * PAUSE_PER_WRITE)
        : openedAt + this.#fixedMs;
    return Math.max(0, dueAt - now);
  }
}
