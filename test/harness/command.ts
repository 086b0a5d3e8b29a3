import { vi } from 'vitest';
import type { CliEnvironment } from '../../services/cli/environment.ts';
import { runProgram } from '../../services/cli/program.ts';

export interface CommandResult {
  readonly code: number;
  /** Standard output and standard error together, but for log lines. */
  readonly text: string;
}

const LIMIT_MS = 30_000;

/** `restage …args` in this process, in a tenth of a real one's time. A service that starts is drained by the signal, or at the limit. */
export async function runCommand(
  args: readonly string[],
  signal: AbortSignal = AbortSignal.timeout(LIMIT_MS),
): Promise<CommandResult> {
  let text = '';
  let code = 0;
  const keep = (more: string | Uint8Array): boolean => {
    text += typeof more === 'string' ? more : Buffer.from(more).toString();
    return true;
  };
  const spies = [process.stdout, process.stderr].map((stream) => vi.spyOn(stream, 'write').mockImplementation(keep));
  const cli: CliEnvironment = {
    env: { RESTAGE_LOG: 'silent' },
    out: keep,
    err: keep,
    isTerminal: false,
    canAsk: false,
    self: [],
    signal,
    setExitCode: (given) => {
      code = given;
    },
  };
  try {
    await runProgram(cli, '0', args);
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  return { code, text };
}
