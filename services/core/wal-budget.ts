/** What the source says of the WAL that the slot keeps. */
export interface WalSample {
  /** Milliseconds. */
  readonly at: number;
  /** End of WAL. */
  readonly written: bigint;
  readonly retainedBytes: number;
  /** Until the server gives the slot up; null without max_slot_wal_keep_size (PostgreSQL: "pg_replication_slots", safe_wal_size). */
  readonly safeBytes: number | null;
  /** reserved, extended, unreserved or lost; null where the server does not say. */
  readonly walStatus: string | null;
}

/** `above`: more than the budget. `unreserved`: the server may remove it at the next checkpoint. */
export type WalState = 'within' | 'above' | 'unreserved';

export interface WalFigures {
  readonly state: WalState;
  readonly retainedBytes: number;
  readonly budgetBytes: number;
  readonly safeBytes: number | null;
  readonly walStatus: string | null;
  /** WAL that the source writes. */
  readonly bytesPerSecond: number;
  /** Until the budget, or what the server allows, is used up at this rate if nothing more were confirmed; null where nothing is written. */
  readonly secondsUntilFull: number | null;
}

/** Over which the rate is taken. */
const WINDOW_MS = 60_000;

/** Samples in, figures out. */
export class WalBudget {
  readonly #budgetBytes: number;
  #samples: WalSample[] = [];

  constructor(budgetBytes: number) {
    this.#budgetBytes = budgetBytes;
  }

  note(sample: WalSample): WalFigures {
    this.#samples = [...this.#samples.filter(({ at }) => at > sample.at - WINDOW_MS), sample];
    const { retainedBytes, safeBytes, walStatus } = sample;
    const bytesPerSecond = this.#rate();
    const room = Math.max(0, Math.min(this.#budgetBytes - retainedBytes, safeBytes ?? Number.POSITIVE_INFINITY));
    return {
      state: walStatus === 'unreserved' ? 'unreserved' : retainedBytes > this.#budgetBytes ? 'above' : 'within',
      retainedBytes,
      budgetBytes: this.#budgetBytes,
      safeBytes,
      walStatus,
      bytesPerSecond,
      secondsUntilFull: bytesPerSecond === 0 ? null : room / bytesPerSecond,
    };
  }

  #rate(): number {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.at === first.at) return 0;
    return Math.max(0, Number(last.written - first.written) / ((last.at - first.at) / 1000));
  }
}
