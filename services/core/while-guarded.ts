/**
 * Work that ends when its guard finds a fault: the guard's error is then the one that is thrown, whatever the work made of its end.
 * The guard ends with the work.
 */
export async function whileGuarded(
  signal: AbortSignal,
  guard: (signal: AbortSignal) => Promise<void>,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const ended = new AbortController();
  const both = AbortSignal.any([signal, ended.signal]);
  const faults: unknown[] = [];
  const guarding = guard(both).catch((error: unknown) => {
    faults.push(error);
    ended.abort();
  });
  try {
    await work(both);
  } catch (error) {
    faults.push(error);
  }
  ended.abort();
  await guarding;
  if (faults.length > 0) throw faults[0];
}
