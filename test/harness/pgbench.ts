import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { postgresBin } from './servers.ts';

/** A running pgbench. `await using` kills it. */
export interface Pgbench extends AsyncDisposable {
  /** Rejects with what it said when it fails. */
  readonly ended: Promise<void>;
}

export function pgbench(url: string, args: readonly string[]): Pgbench {
  const child = spawn(path.join(postgresBin(), 'pgbench'), [...args, url], { stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const ended = once(child, 'close').then(([code]) => {
    if (code !== 0) throw new Error(`pgbench ended with ${String(code)}: ${text}`);
  });
  ended.catch(() => undefined);
  return {
    ended,
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null) child.kill('SIGKILL');
      await ended.catch(() => undefined);
    },
  };
}
