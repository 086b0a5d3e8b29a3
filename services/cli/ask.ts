import { createInterface } from 'node:readline/promises';
import type { CliEnvironment } from './environment.ts';

/** A question on standard error, so that results stay alone on standard output. Anything but y or yes is no. */
export async function askYesNo(question: string, cli: Pick<CliEnvironment, 'signal'>): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question(question, { signal: cli.signal })).trim());
  } catch {
    return false;
  } finally {
    terminal.close();
  }
}
