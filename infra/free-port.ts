import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/**
 * Below the ports of outgoing connections (Linux: from 32768, others from 49152): such a one could take the port before its server listens, or
 * while that is down.
 */
const PORTS = { from: 20_000, to: 32_000 } as const;
const ATTEMPTS = 100;

/** A port of the loopback address that nobody listens on now; `to` is behind the last one. @throws Error when none is found. */
export async function freePort({ from, to }: { readonly from: number; readonly to: number } = PORTS): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = randomInt(from, to);
    if (await isFree(port)) return port;
  }
  throw new Error(`no port of the loopback address from ${from} to ${to - 1} is free`);
}

function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' || error.code === 'EACCES' ? resolve(false) : reject(error),
    );
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
