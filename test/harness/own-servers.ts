import { createServer } from 'node:net';
import { pause } from '#core/backoff.ts';
import { nameOfWorkers, SERVER_NAMES, SETS } from './worker-servers.ts';

const POLL_MS = 50;

/**
 * Files at a time share no server: roles, slots and open transactions are a whole cluster's. A set of servers is a process's as long as it
 * holds the set's socket, so a file on its way out keeps its own to itself. Vitest's numbers of its workers do not do: two at a time had one.
 */
async function takeSet(sets: readonly string[]): Promise<number> {
  for (;;) {
    for (const [index, socket] of sets.entries()) if (await take(socket)) return index + 1;
    await pause(POLL_MS);
  }
}

/** An abstract socket of Linux's: it goes with its process, and no file is left. */
function take(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer().unref();
    server.once('error', () => resolve(false));
    server.listen(`\0${socket}`, () => resolve(true));
  });
}

const sets = (process.env[SETS] ?? '').split(' ').filter((name) => name !== '');
if (sets.length > 0) {
  const isLinux = process.platform === 'linux';
  const set = isLinux ? await takeSet(sets) : Number(process.env['VITEST_POOL_ID'] ?? '1');
  for (const name of SERVER_NAMES) {
    const own = process.env[nameOfWorkers(name, set)];
    if (own !== undefined) process.env[name] = own;
  }
}
