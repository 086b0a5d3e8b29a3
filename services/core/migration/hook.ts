import type { Side } from './journal.ts';

/** Where a switch tells of itself; several may be given, and each must take it. */
export interface HookConfig {
  /** Program and arguments; the message comes on standard input and in RESTAGE_HOOK. */
  readonly command: readonly string[] | null;
  /** Gets the message as a POST. */
  readonly url: string | null;
  /** Is written anew, in one piece. */
  readonly file: string | null;
  readonly timeoutMs: number;
}

/**
 * `hold`: stop writing, a switch begins. `resume`: go on where you were, it was undone. `flip`: write to the side that is live now. Each may
 * come more than once.
 */
export type HookEvent = 'hold' | 'resume' | 'flip';

export interface HookMessage {
  readonly event: HookEvent;
  readonly pipeline: string;
  readonly target: string;
  /** Which side takes writes, or will again: `hold` names none. */
  readonly live: Side | null;
}
