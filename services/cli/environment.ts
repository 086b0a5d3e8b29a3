import type { Environment } from '#core/config-expand.ts';
import type { ExitCode } from '#core/error-policy.ts';

/** What a command gets from the process; tests hand in their own. */
export interface CliEnvironment {
  readonly env: Environment;
  /** Standard output: results only, one JSON document with --json. */
  readonly out: (text: string) => void;
  /** Standard error: logs, progress and errors. */
  readonly err: (text: string) => void;
  /** Standard error is a terminal. */
  readonly isTerminal: boolean;
  /** A person reads questions and can answer: standard error and standard input are terminals. */
  readonly canAsk: boolean;
  /** How to start this program again: node, its options and main's path. */
  readonly self: readonly string[];
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** What the process will exit with; 0 until a command says otherwise. */
  setExitCode: (code: ExitCode) => void;
}
