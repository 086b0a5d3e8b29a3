/**
 * Text by key, in the order of the keys' code units, on this machine alone: it may be lost at any time.
 *
 * Order: a read sees every write whose promise has resolved. Duplicates: the last write of a key counts.
 * Concurrency: one user. Nothing is acknowledged to anybody: what has to last is in Kafka.
 */
export interface RowStore {
  get(key: string): string | undefined;
  /** Keys from the first on, before the second. */
  keys(from: string, before: string): AsyncIterable<string>;
  /** null removes. */
  write(changes: ReadonlyMap<string, string | null>): Promise<void>;
  clear(from: string, before: string): Promise<void>;
  close(): Promise<void>;
}

/** In memory: where few rows are met, and nothing is to be left behind. */
export function createMemoryStore(): RowStore {
  const values = new Map<string, string>();
  const inRange = (from: string, before: string): string[] =>
    [...values.keys()].filter((key) => key >= from && key < before).toSorted((a, b) => (a < b ? -1 : 1));
  return {
    get: (key) => values.get(key),
    async *keys(from, before) {
      yield* await Promise.resolve(inRange(from, before));
    },
    write(changes) {
      for (const [key, value] of changes) {
        if (value === null) values.delete(key);
        else values.set(key, value);
      }
      return Promise.resolve();
    },
    clear(from, before) {
      for (const key of inRange(from, before)) values.delete(key);
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
}
