/**
 * First in, first out, with room for `capacity` items: `put` waits for room, which is how a slow stage slows the one
 * before it (invariant 6). Any number of putters, one taker.
 */
export class BoundedQueue<T> {
  readonly #items: T[] = [];
  readonly #capacity: number;
  readonly #onItem: () => void;
  #waiting: (() => void)[] = [];
  #failure: unknown = null;

  /** `onItem` is called after each put. */
  constructor(capacity: number, onItem: () => void) {
    this.#capacity = capacity;
    this.#onItem = onItem;
  }

  get length(): number {
    return this.#items.length;
  }

  /** Rejects when the queue was closed with a failure. */
  async put(item: T): Promise<void> {
    while (this.#items.length >= this.#capacity && this.#failure === null) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    if (this.#failure !== null) throw this.#failure;
    this.#items.push(item);
    this.#onItem();
  }

  /** The next to be taken. */
  get first(): T | undefined {
    return this.#items[0];
  }

  take(): T | undefined {
    const item = this.#items.shift();
    this.#release();
    return item;
  }

  /** Makes every put, waiting or to come, reject. */
  close(failure: unknown): void {
    this.#failure = failure;
    this.#release();
  }

  #release(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resume of waiting) resume();
  }
}
