#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { projectRoot } from '#infra/project-root.ts';
import type { CliEnvironment } from './environment.ts';
import { watchParent } from './parent-watch.ts';
import { runProgram } from './program.ts';

/** A terminal's Ctrl-C comes once from it and once more from each launcher (npx, a supervisor) that hands it on. */
const SAME_REQUEST_MS = 2_000;

const stop = new AbortController();
let askedAt = 0;
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    if (!stop.signal.aborted) {
      askedAt = performance.now();
      stop.abort();
      return;
    }
    // Whoever asks again does not want to wait; every instant is safe to stop at (invariant 7).
    if (performance.now() - askedAt > SAME_REQUEST_MS) process.exit(1);
  });
}

watchParent(process.env, process.stdin, () => stop.abort());

const cli: CliEnvironment = {
  env: process.env,
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  isTerminal: process.stderr.isTTY,
  canAsk: process.stdin.isTTY && process.stderr.isTTY,
  self: [process.execPath, ...process.execArgv, import.meta.filename],
  signal: stop.signal,
  setExitCode: (code) => {
    process.exitCode = code;
  },
};

await runProgram(cli, readVersion(), process.argv.slice(2));
// Results may still be on their way into a pipe; what else is open (sockets, timers) must not keep a finished command alive.
process.stdout.write('', () => process.exit());

function readVersion(): string {
  const content: unknown = JSON.parse(readFileSync(path.join(projectRoot(), 'package.json'), 'utf8'));
  return typeof content === 'object' && content !== null && 'version' in content ? String(content.version) : '';
}
