import { spawn } from 'node:child_process';
import { endGroup } from '#adapters/process-group.ts';

const OUTPUT_KEPT = 16_000;

export interface ShellResult {
  /** null: ended by a signal, or by its time. */
  readonly code: number | null;
  readonly isLate: boolean;
  readonly seconds: number;
  /** Standard output's end. */
  readonly output: string;
  /** Standard error's end. */
  readonly complaint: string;
}

/** A command of the configuration's own, in a shell; at the end of its time it is killed with what it started. */
export function runShell(
  command: string,
  env: Readonly<Record<string, string>>,
  options: { readonly limitMs: number; readonly signal: AbortSignal },
): Promise<ShellResult> {
  return new Promise((resolve, reject) => {
    const startedAt = performance.now();
    const child = spawn(command, {
      shell: true,
      // A group of its own, so that all of it can be ended.
      detached: true,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [output, complaint, isLate] = ['', '', false];
    child.stdout.setEncoding('utf8').on('data', (more: string) => (output = (output + more).slice(-OUTPUT_KEPT)));
    child.stderr.setEncoding('utf8').on('data', (more: string) => (complaint = (complaint + more).slice(-OUTPUT_KEPT)));
    const end = (): void => endGroup(child.pid);
    const timer = setTimeout(() => {
      isLate = true;
      end();
    }, options.limitMs);
    options.signal.addEventListener('abort', end, { once: true });
    const finish = (): void => {
      clearTimeout(timer);
      options.signal.removeEventListener('abort', end);
    };
    child.on('error', (error) => {
      finish();
      reject(error);
    });
    child.on('close', (code) => {
      finish();
      resolve({ code, isLate, seconds: (performance.now() - startedAt) / 1000, output, complaint });
    });
  });
}
