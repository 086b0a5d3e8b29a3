import { pino } from 'pino';
import { expect, test } from 'vitest';
import { newStatus, SERVICE_STATES, type ServiceStatus } from '#core/status.ts';
import { isOwnHost } from './host-guard.ts';
import { buildHttp, startHttp, type HttpOptions } from './http-server.ts';

const own = { host: '127.0.0.1:4000' };

function optionsFor(status: HttpOptions['status'], overview?: () => Promise<unknown>): HttpOptions {
  const options = { status, host: '127.0.0.1', port: 0, logger: pino({ level: 'silent' }), clock: () => 5_000 };
  return overview === undefined ? options : { ...options, overview };
}

function streamingSink(): ServiceStatus {
  const status = newStatus('sink', 'new');
  status.state = 'streaming';
  status.lagBytes = 42;
  status.events.update = 7;
  return status;
}

test.each([
  ['streaming', 200],
  ['standby', 200],
  ['loading', 200],
  ['paused', 200],
  ['held', 200],
  ['starting', 503],
  ['failed', 503],
  ['retrying', 503],
] as const)('/readyz while %s is %d and says why', async (state, code) => {
  const status = newStatus('producer', '');
  status.state = state;
  status.detail = 'slot is missing';
  const server = await buildHttp(optionsFor(status));
  const answer = await server.inject({ url: '/readyz', headers: own });
  expect(answer.statusCode).toBe(code);
  expect(answer.json()).toMatchObject({ services: [{ state, detail: 'slot is missing' }] });
  expect((await server.inject({ url: '/livez', headers: own })).statusCode).toBe(200);
});

test('/metrics has the numbers at the moment of the scrape, and two servers share none', async () => {
  const status = streamingSink();
  const server = await buildHttp(optionsFor(status));
  const other = await buildHttp(optionsFor(newStatus('producer', '')));
  status.events.update = 9;
  for (let scrape = 0; scrape < 2; scrape += 1) {
    const { body } = await server.inject({ url: '/metrics', headers: own });
    expect(body).toContain('restage_lag_bytes{service="sink",instance="new"} 42');
    expect(body).toContain('restage_state{service="sink",instance="new",state="streaming"} 1');
    for (const state of SERVICE_STATES) expect(body).toContain(`instance="new",state="${state}"}`);
    expect(body).toContain('restage_events_total{service="sink",instance="new",operation="update"} 9');
  }
  expect((await other.inject({ url: '/metrics', headers: own })).body).not.toContain('instance="new"');
});

test('a foreign Host, another method and another path are refused', async () => {
  const server = await buildHttp(optionsFor(streamingSink()));
  expect((await server.inject({ url: '/status', headers: { host: 'evil.example:4000' } })).statusCode).toBe(403);
  expect((await server.inject({ url: '/status', method: 'POST', headers: own })).statusCode).toBe(405);
  expect((await server.inject({ url: '/../package.json', headers: own })).statusCode).toBe(404);
  expect(
    (await server.inject({ url: '/status', headers: own })).headers['access-control-allow-origin'],
  ).toBeUndefined();
});

test.each([
  ['localhost:1', '127.0.0.1', true],
  ['[::1]:9', '127.0.0.1', true],
  ['restage.example', 'restage.example', true],
  ['10.0.0.8:4000', '127.0.0.1', false],
  ['10.0.0.8:4000', '0.0.0.0', true],
  ['evil.example', '0.0.0.0', false],
  [undefined, '::', false],
])('Host %s at %s: %s', (header, configured, expected) => {
  expect(isOwnHost(header, configured)).toBe(expected);
});

test('the overview is asked once for many pages, and a failed one is a 500', async () => {
  let asked = 0;
  const server = await buildHttp(
    optionsFor(streamingSink(), async () => ({ name: 'shop', services: [], asked: (asked += 1) })),
  );
  const answers = await Promise.all([1, 2, 3].map(() => server.inject({ url: '/overview', headers: own })));
  for (const answer of answers)
    expect(answer.json()).toEqual({ at: 5_000, overview: { name: 'shop', services: [], asked: 1 } });
  expect(asked).toBe(1);
  const failing = await buildHttp(optionsFor(streamingSink(), () => Promise.reject(new Error('secret'))));
  const failed = await failing.inject({ url: '/overview', headers: own });
  expect([failed.statusCode, failed.body.includes('secret')]).toEqual([500, false]);
});

test('listens, serves the page, and a taken port is said', async () => {
  const first = await startHttp(optionsFor(streamingSink()));
  try {
    const page = await fetch(`${first.address}/`);
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(await page.text()).toContain('<title>');
    const port = Number(new URL(first.address).port);
    await expect(startHttp({ ...optionsFor(streamingSink()), port })).rejects.toMatchObject({ code: 'usage' });
  } finally {
    await first.close();
  }
});
