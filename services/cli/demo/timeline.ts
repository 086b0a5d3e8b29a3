/** Something that the demo did. */
export interface Milestone {
  /** Seconds since the demo began. */
  readonly at: number;
  /** How long it took. */
  readonly seconds: number;
  readonly what: string;
}

/** What was done when, in its order. */
export class Timeline {
  readonly milestones: Milestone[] = [];
  readonly #startedAt = performance.now();

  now(): number {
    return (performance.now() - this.#startedAt) / 1_000;
  }

  /** Does it, and notes what it says of itself. */
  async note<T>(work: () => Promise<T>, describe: (result: T) => string): Promise<T> {
    const at = this.now();
    const result = await work();
    this.milestones.push({ at, seconds: this.now() - at, what: describe(result) });
    return result;
  }
}
