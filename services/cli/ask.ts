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

/** Anything but y or yes is no. */
export async function askYesNo(question: string, cli: Pick<CliEnvironment, 'signal'>): Promise<boolean> {
  return /^y(es)?$/i.test(await ask(question, cli));
}

/** Without a terminal nobody can be asked, so --yes has to say it. `dryRun`: what --dry-run shows. @throws RestageError usage. */
export async function confirm(
  question: string,
  { command, dryRun = 'do' }: { readonly command: string; readonly dryRun?: string },
  cli: Pick<CliEnvironment, 'signal' | 'isTerminal'>,
): Promise<boolean> {
  if (cli.isTerminal) return askYesNo(question, cli);
  throw new RestageError('usage', 'nobody can be asked: there is no terminal', {
    where: command,
    fix: `add --yes, or --dry-run to see what it would ${dryRun}`,
  });
}
