import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import path from 'node:path';
import type { KeptSnapshot } from '#adapters/postgres/source/kept-snapshot.ts';
import { RestageError } from '#core/errors.ts';
import type { CliEnvironment } from './environment.ts';
import { UNWATCHED } from './parent-watch.ts';

const START_LIMIT_MS = 30_000;

/**
 * Starts `restage keeper`, in a session of its own so that no signal to us reaches it, and returns what it says: from then on it lives by
 * itself. @throws RestageError component_missing when it ends or is silent instead.
 */
export async function startKeeper(cli: CliEnvironment, file: string, snapshot: string): Promise<KeptSnapshot> {
  const [program, ...before] = cli.self;
  if (program === undefined) throw new RestageError('component_missing', 'this program cannot be started again');
  const args = [...before, 'keeper', '-c', path.resolve(file), '--snapshot', snapshot];
  const child = spawn(program, args, {
    env: { ...cli.env, ...UNWATCHED },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  child.unref();
  child.stderr.on('data', (text: Buffer) => cli.err(text.toString()));
  const lines = createInterface({ input: child.stdout });
  const limit = AbortSignal.timeout(START_LIMIT_MS);
  try {
    const said: unknown[] = await Promise.race([
      once(lines, 'line', { signal: limit }),
      once(child, 'close', { signal: limit }).then(() => []),
    ]);
    const [line] = said;
    if (typeof line === 'string') return JSON.parse(line) as KeptSnapshot;
    throw new Error('it ended');
  } catch (cause) {
    child.kill('SIGKILL');
    throw new RestageError('component_missing', 'the process that keeps the snapshot of the load did not start', {
      cause,
      where: `${path.basename(program)} … keeper`,
    });
  } finally {
    // The other end of its standard streams: it says no more.
    lines.close();
    child.stdout.destroy();
    child.stderr.destroy();
  }
}
