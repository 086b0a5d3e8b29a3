import { setTimeout as sleep } from 'node:timers/promises';

export interface UntilOptions {
  /** For the message when it never comes true. */
  readonly what: string;
  readonly timeoutMs?: number;
  /** Between two looks. Absent: 50 and more, twice what a look takes, so that those who wait leave the processor to what they wait for. */
  readonly everyMs?: number;
}

const LEAST_REST_MS = 50;

/**
 * Polls until `condition` gives something other than false, null or undefined, and gives that. What it throws counts as
 * "not yet" and is the cause of the error at the deadline.
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  { what, timeoutMs = 30_000, everyMs }: UntilOptions,
): Promise<Exclude<T, false | null | undefined>> {
  const deadline = Date.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    const began = performance.now();
    try {
      const value = await condition();
      if (value !== false && value !== null && value !== undefined)
        return value as Exclude<T, false | null | undefined>;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause: last });
    await sleep(everyMs ?? Math.max(LEAST_REST_MS, 2 * (performance.now() - began)));
  }
}
