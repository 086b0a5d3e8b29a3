import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { freePort } from './free-port.ts';

test('a port is free, and none that outgoing connections get', async () => {
  const port = await freePort();
  expect(port).toBeGreaterThanOrEqual(20_000);
  expect(port).toBeLessThan(32_000);
  const server = createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  await expect(freePort({ from: port, to: port + 1 })).rejects.toThrow(`from ${port} to ${port} is free`);
  server.close();
  await once(server, 'close');
  expect(await freePort({ from: port, to: port + 1 })).toBe(port);
});
