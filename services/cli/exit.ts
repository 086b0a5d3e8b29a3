import { CommanderError } from 'commander';
import { describeError } from '#core/errors.ts';
import { exitCodeOf, type ExitCode } from '#core/error-policy.ts';

/** Says an error once, on standard error, and gives the exit code for it. */
export function reportError(error: unknown, err: (text: string) => void): ExitCode {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  err(`${describeError(error)}\n`);
  return exitCodeOf(error);
}
