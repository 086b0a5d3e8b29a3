import { createInterface } from 'node:readline/promises';
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
