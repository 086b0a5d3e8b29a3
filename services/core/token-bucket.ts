/**
 * Evens out work to a rate: who takes more than is there waits until the debt is paid, so that one large piece passes whole and the rate
 * still holds over time. A second's worth may be taken at once.
 */
export class TokenBucket {
  readonly #perSecond: number;
  readonly #clock: () => number;
  #tokens: number;
  #at: number;

  /** `clock`: milliseconds. */
  constructor(perSecond: number, clock: () => number) {
    this.#perSecond = perSecond;
    this.#clock = clock;
    this.#tokens = perSecond;
    this.#at = clock();
  }

  /** Takes them, and says for how many milliseconds the taker has to wait before it goes on. */
  take(count: number): number {
    const now = this.#clock();
    const grown = (Math.max(0, now - this.#at) * this.#perSecond) / 1_000;
    this.#at = now;
    this.#tokens = Math.min(this.#perSecond, this.#tokens + grown) - count;
    return this.#tokens >= 0 ? 0 : Math.ceil((-this.#tokens * 1_000) / this.#perSecond);
  }
}
