/** Adds up how long a loop waited for its input: the rest of its time it worked, or waited for what it writes to. */
export class WaitMeter {
  readonly #clock: () => number;
  #waitedMs = 0;
  #since: number | null = null;

  /** `clock`: milliseconds. */
  constructor(clock: () => number) {
    this.#clock = clock;
  }

  /** Up to now, a wait that goes on included. */
  get waitedMs(): number {
    return this.#waitedMs + (this.#since === null ? 0 : this.#clock() - this.#since);
  }

  /** The same sequence; the time until each of its values comes is waited. One loop at a time. */
  async *through<T>(values: AsyncIterable<T>): AsyncGenerator<T> {
    const iterator = values[Symbol.asyncIterator]();
    try {
      for (;;) {
        const { done, value } = await this.#wait(() => iterator.next());
        if (done === true) return;
        yield value;
      }
    } finally {
      await iterator.return?.();
    }
  }

  async #wait<T>(work: () => Promise<T>): Promise<T> {
    this.#since = this.#clock();
    try {
      return await work();
    } finally {
      this.#waitedMs = this.waitedMs;
      this.#since = null;
    }
  }
}
