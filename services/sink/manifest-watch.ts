import type { EpochReader } from '#core/epoch-reader.ts';
import { isJoint } from '#core/lanes.ts';
import type { LagMeter } from '#core/lag-meter.ts';
import type { StoredManifest } from '#core/manifest.ts';
import { pause } from '#core/backoff.ts';

/** Manifests that are read ahead of the last lane: small, but there may be many. */
const MOST_AHEAD = 5_000;
const FULL_PAUSE_MS = 50;

/** What the lanes go through, read beside them for the figures, up to the first manifest that they stop before. */
export class ManifestWatch {
  readonly #reader: EpochReader;
  readonly #lag: LagMeter;
  /** Read, and not passed by every lane. */
  #ahead: StoredManifest[] = [];
  /** Offset after the last manifest that was read. */
  #next: bigint;
  #hasEnd = false;

  constructor(reader: EpochReader, lag: LagMeter, from: bigint) {
    this.#reader = reader;
    this.#lag = lag;
    this.#next = from;
  }

  /** Where lanes stand that have taken all there is before a manifest which is not theirs; null while none has come. */
  get end(): bigint | null {
    return this.#hasEnd ? this.#next : null;
  }

  /** Until that one, or until aborted. */
  async follow(signal: AbortSignal): Promise<void> {
    for await (const manifests of this.#reader.manifests(this.#next, signal)) {
      for (const stored of manifests) {
        if (isJoint(stored.manifest)) {
          this.#hasEnd = true;
          return;
        }
        this.#lag.see(stored.manifest);
        this.#ahead.push(stored);
        this.#next = stored.offset + 1n;
      }
      while (this.#ahead.length >= MOST_AHEAD && !signal.aborted) await pause(FULL_PAUSE_MS, signal);
    }
  }

  /** Every lane has passed what is before this offset. Returns the last manifest of that which was not known to be; null for none. */
  passed(offset: bigint): StoredManifest | null {
    const count = this.#ahead.findLastIndex((stored) => stored.offset < offset) + 1;
    const last = this.#ahead[count - 1] ?? null;
    this.#ahead = this.#ahead.slice(count);
    if (last !== null) this.#lag.reached(last.manifest);
    const [waiting] = this.#ahead;
    if (waiting !== undefined) this.#lag.see(waiting.manifest);
    return last;
  }
}
