import { pause } from '#core/backoff.ts';

export interface LaneSeats {
  readonly lanes: number;
  /** How many this process takes at once; others are taken only where nobody else has them for a while. */
  readonly most: number;
  /** Works on a lane until aborted. False where another had it for `withinMs`; null waits for it as a stand-by. */
  readonly run: (lane: number, signal: AbortSignal, withinMs: number | null) => Promise<boolean>;
}

/** Longer than a holder takes to say that it holds. */
const TRY_MS = 5_000;
/** Others that start at the same time come first. */
const SPARE_AFTER_MS = 15_000;
/** What is beside the share is offered to others again after a while. */
const SPARE_HOLD_MS = 60_000;
const SPARE_REST_MS = 10_000;
const ALL_BUSY_MS = 1_000;

/** Takes lanes until aborted, and those of a process that died; rejects with the first that failed for good. */
export async function takeLanes({ lanes, most, run }: LaneSeats, signal: AbortSignal): Promise<void> {
  const all = Array.from({ length: lanes }, (_, lane) => lane);
  if (most >= lanes) {
    await Promise.all(all.map((lane) => run(lane, signal, null)));
    return;
  }
  const busy = new Set<number>();
  const seat = async (first: number, holdMs: number | null): Promise<void> => {
    if (holdMs !== null) await pause(SPARE_AFTER_MS, signal);
    for (let next = first, passed = 0; !signal.aborted; next += 1) {
      const lane = next % lanes;
      passed = busy.has(lane) ? passed + 1 : 0;
      if (passed > lanes) await pause(ALL_BUSY_MS, signal);
      if (busy.has(lane) || signal.aborted) continue;
      busy.add(lane);
      const until = holdMs === null ? signal : AbortSignal.any([signal, AbortSignal.timeout(TRY_MS + holdMs)]);
      const isHeld = await run(lane, until, TRY_MS).finally(() => busy.delete(lane));
      if (isHeld && holdMs !== null) await pause(SPARE_REST_MS, signal);
    }
  };
  // Processes that start together begin at different lanes.
  const first = Math.floor(Math.random() * lanes);
  await Promise.all(all.map((at) => seat(first + at, at < most ? null : SPARE_HOLD_MS)));
}
