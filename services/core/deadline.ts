/** A signal of its own time, and what ends it early so that no timer is left. */
export interface Deadline {
  readonly signal: AbortSignal;
  readonly cancel: () => void;
}

/**
 * Aborts after `ms`, or with `signal`. Not by AbortSignal.timeout within AbortSignal.any: nothing holds that one, and once it is
 * collected it never fires.
 */
export function startDeadline(ms: number, signal: AbortSignal): Deadline {
  const own = new AbortController();
  const timer = setTimeout(() => own.abort(), ms);
  // Whoever waits keeps the process; one that failed must not.
  timer.unref();
  return { signal: AbortSignal.any([signal, own.signal]), cancel: () => clearTimeout(timer) };
}
