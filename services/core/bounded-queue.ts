import { Condition } from '#core/condition.ts';

/**
 * First in, first out, with room for items that weigh `capacity` together, one each unless said otherwise: `put` waits while they weigh as
 * much, which is how a slow stage slows the one before it (invariant 6). One that weighs as much alone has its putter wait until it is
 * taken. Any number of putters, one taker.
 */
export class BoundedQueue<T> {
  readonly #items: T[] = [];
  readonly #capacity: number;
  readonly #onItem: () => void;
  readonly #weigh: (item: T) => number;
  #weight = 0;
  readonly #taken = new Condition();

  /** `onItem` is called after each put. */
  constructor(capacity: number, onItem: () => void, weigh: (item: T) => number = () => 1) {
    this.#capacity = capacity;
    this.#onItem = onItem;
    this.#weigh = weigh;
  }

  get length(): number {
    return this.#items.length;
  }

  /** Rejects when the queue was closed with a failure. Until it has room, the item is in its putter's hand alone. */
  async put(item: T): Promise<void> {
    await this.room();
    this.add(item);
    if (this.#weigh(item) >= this.#capacity) await this.#taken.until(() => !this.#items.includes(item));
  }

  /** Waits until there is some. Rejects as `put`. */
  room(): Promise<void> {
    return this.#taken.until(() => this.#weight < this.#capacity);
  }

  /** At once, for its only putter, when there is room. */
  add(item: T): void {
    this.#items.push(item);
    this.#weight += this.#weigh(item);
    this.#onItem();
  }

  /** The next to be taken. */
  get first(): T | undefined {
    return this.#items[0];
  }

  take(): T | undefined {
    const item = this.#items.shift();
    // Sums of fractions may leave a rest.
    if (item !== undefined) this.#weight = this.#items.length === 0 ? 0 : this.#weight - this.#weigh(item);
    this.#taken.changed();
    return item;
  }

  /** Makes every put, waiting or to come, reject. */
  close(failure: unknown): void {
    this.#taken.fail(failure);
  }
}
