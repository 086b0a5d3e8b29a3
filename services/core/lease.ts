/**
 * The right to be the one active instance of a loop. Won before InitProducerId and before any write.
 * A holder that falls silent loses it within about 10 s; it learns by `lost` and stops at once.
 */
export interface Lease {
  /** Waits until won (calls `onWait` once when somebody else holds it); rejects when aborted. */
  acquire(signal: AbortSignal, onWait: () => void): Promise<void>;
  /** Aborted when the lease is lost. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}
