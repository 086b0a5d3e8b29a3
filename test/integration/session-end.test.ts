import { afterAll, beforeAll, expect, it } from 'vitest';
import { connectPg } from '#adapters/postgres/session.ts';
import { SeededRandom } from '../harness/random.ts';
import { testPostgres } from '../harness/servers.ts';
import { TcpProxy } from '../harness/tcp-proxy.ts';

let link: TcpProxy;
let url: string;

beforeAll(async () => {
  const direct = new URL(testPostgres(15));
  link = await TcpProxy.open(Number(direct.port), new SeededRandom(1));
  direct.port = String(link.port);
  url = direct.href;
});

afterAll(async () => {
  await link[Symbol.asyncDispose]();
});

it('ends, though nobody answers its goodbye', async () => {
  const client = await connectPg({ url, purpose: 'target', application: 'session test' });
  link.spoil({ kind: 'blackHole' });
  await expect(client.end()).resolves.toBeUndefined();
  link.mend();
});

it('is cut in the middle of a statement when its lease is lost', async () => {
  const lease = new AbortController();
  const client = await connectPg({ url, purpose: 'target', application: 'session test', until: lease.signal });
  const waiting = client.query('SELECT pg_sleep(60)');
  lease.abort();
  await expect(waiting).rejects.toThrow('Connection terminated');
  await client.end();
});
