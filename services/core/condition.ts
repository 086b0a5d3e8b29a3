/** What any number of callers wait for, until it is so or has failed. Whoever changes what they look at says so. */
export class Condition {
  #waiting: (() => void)[] = [];
  #failure: { readonly error: unknown } | null = null;

  /** Everyone who waits looks again. */
  changed(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resume of waiting) resume();
  }

  /** Makes every wait, begun or to come, reject. */
  fail(error: unknown): void {
    this.#failure = { error };
    this.changed();
  }

  async until(isReached: () => boolean): Promise<void> {
    while (!isReached() && this.#failure === null) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.#failure !== null) throw this.#failure.error;
  }
}
