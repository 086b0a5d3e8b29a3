/** What a schedule leaves open, told one by one; when they are used up, all goes well, so that schedules shrink towards calm ones. */
export class Choices {
  readonly #values: readonly number[];
  #at = 0;

  constructor(values: readonly number[]) {
    this.#values = values;
  }

  /** 0 … n − 1; 0 is the calm answer. */
  of(n: number): number {
    const value = this.#values[this.#at] ?? 0;
    this.#at += 1;
    return value % n;
  }
}

/** Lets every other loop go on for a moment. */
export function tick(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** What becomes of writes to Kafka, and of time and traffic in between. */
export interface Schedule {
  readonly fates: Choices;
  readonly pace: Choices;
}
