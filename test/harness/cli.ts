import { spawn, type ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { until } from './until.ts';

/** As global-setup.ts has built it: it starts in a fraction of the time that the sources take. */
const PROGRAM = 'dist/services/cli/main.js';
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface CliResult {
  /** null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running `restage`: a real child process of what was built. `await using` kills it with its children. */
export interface CliProcess extends AsyncDisposable {
  readonly pid: number;
  stdout(): string;
  stderr(): string;
  hasEnded(): boolean;
  /** Waits until either stream matches. Fails at once when it exits before. */
  output(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
  /** Waits until a failpoint has stopped it: it says so a moment before, and a SIGCONT in between would be lost. */
  stopped(failpoint: RegExp): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  /** SIGTERM, and the end: what `run` started has process groups of its own, which only `run` itself ends. */
  drain(timeoutMs?: number): Promise<CliResult>;
  result(timeoutMs?: number): Promise<CliResult>;
}

/** `restage …args` to its end. */
export async function runCli(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  timeoutMs = 90_000,
): Promise<CliResult> {
  await using cli = startCli(args, env);
  return await cli.result(timeoutMs);
}

/** `restage …args`, left running. `node`: Node's own options. */
export function startCli(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  node: readonly string[] = [],
): CliProcess {
  const child = spawn(process.execPath, [...node, PROGRAM, ...args], {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const text = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text.stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (text.stderr += chunk));
  let end: Omit<CliResult, 'stdout' | 'stderr'> | null = null;
  child.once('close', (code, signal) => (end = { code, signal }));
  const command = `restage ${args.join(' ')}`;
  const result = async (timeoutMs = 60_000): Promise<CliResult> => {
    const { code, signal } = await until(() => end, {
      what: `${command} to end; so far:\n${text.stdout}${text.stderr}`,
      timeoutMs,
    });
    return { code, signal, ...text };
  };
  const output = async (pattern: RegExp, timeoutMs = 60_000): Promise<RegExpExecArray> => {
    const found = await until(
      () => pattern.exec(text.stdout) ?? pattern.exec(text.stderr) ?? (end === null ? null : 'ended'),
      { what: `${command} printing ${pattern}`, timeoutMs },
    );
    if (typeof found === 'string')
      throw new Error(`${command} ended without printing ${pattern}:\n${text.stdout}${text.stderr}`);
    return found;
  };
  return {
    pid: child.pid ?? 0,
    stdout: () => text.stdout,
    stderr: () => text.stderr,
    hasEnded: () => end !== null,
    output,
    async stopped(failpoint) {
      await output(new RegExp(`failpoint \\S*${failpoint.source}\\S*: stop`));
      await until(() => isStopped(child.pid), { what: `${command} to be stopped`, everyMs: 5 });
    },
    kill: (signal) => void child.kill(signal),
    drain(timeoutMs) {
      child.kill('SIGTERM');
      return result(timeoutMs);
    },
    result,
    async [Symbol.asyncDispose]() {
      if (end === null) killGroup(child);
      await until(() => end, { what: `${command} to end after SIGKILL` });
    },
  };
}

/** By what the kernel says of it (Linux: proc(5), /proc/PID/stat). */
async function isStopped(pid: number | undefined): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')')).startsWith(') T');
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It ended in between.
  }
}
