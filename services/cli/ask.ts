import { createInterface } from 'node:readline/promises';
import { RestageError } from '#core/errors.ts';
import type { CliEnvironment } from './environment.ts';

/** What a person answers; '' when cut short. The question goes to standard error, so that results stay alone on standard output. */
export async function ask(question: string, { signal }: Pick<CliEnvironment, 'signal'>): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return (await terminal.question(question, { signal })).trim();
  } catch {
    return '';
  } finally {
    terminal.close();
  }
}

interface Asked {
  /** For the message: `restage check --fix`. */
  readonly command: string;
  /** What --dry-run shows; null where the command has none. */
  readonly dryRun?: string | null;
}

/**
 * The one rule of all commands: a person is asked only where both the question can be read and the answer be typed, which is when standard
 * error and standard input are terminals. A pipe or a file in either place is a script, whose `y` was not written for this question; it
 * says --yes. @throws RestageError usage.
 */
export function requireSomebody({ command, dryRun = 'do' }: Asked, { canAsk }: Pick<CliEnvironment, 'canAsk'>): void {
  if (canAsk) return;
  throw new RestageError('usage', 'it asks first, and nobody can be asked: there is no terminal', {
    where: command,
    fix: dryRun === null ? 'add --yes' : `add --yes, or --dry-run to see what it would ${dryRun}`,
  });
}

/** y or yes. @throws RestageError usage where there is nobody to ask. */
export async function confirm(
  question: string,
  asked: Asked,
  cli: Pick<CliEnvironment, 'signal' | 'canAsk'>,
): Promise<boolean> {
  requireSomebody(asked, cli);
  return /^y(es)?$/i.test(await ask(question, cli));
}
