/** `npm run chaos` sets the duration; without it the short form runs, which is part of the suite. */
export function isLongRun(): boolean {
  return (process.env['RESTAGE_CHAOS_SECONDS'] ?? '') !== '';
}

/** How long faults are made, in seconds. */
export function chaosSeconds(short: number): number {
  return isLongRun() ? Number(process.env['RESTAGE_CHAOS_SECONDS']) : short;
}

/** What faults are made, in which order: printed when something is wrong, given again to see it again. */
export function chaosSeed(usual: number): number {
  return Number(process.env['RESTAGE_CHAOS_SEED'] ?? usual);
}

/** Cases that differ little: all of them in the long form, the first ones in the short. */
export function someOf<T>(cases: readonly T[], short: number): readonly T[] {
  return isLongRun() ? cases : cases.slice(0, short);
}
