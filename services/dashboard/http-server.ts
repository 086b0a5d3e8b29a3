import Fastify, { type FastifyInstance } from 'fastify';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import type { ServiceStatus } from '#core/status.ts';
import { bracketed, isOwnHost } from './host-guard.ts';
import { makeMetrics } from './metrics.ts';
import { readPage } from './page-files.ts';
import { readinessOf } from './readiness.ts';

export interface HttpOptions {
  readonly status: ServiceStatus | readonly ServiceStatus[];
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  readonly logger: Logger;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** The whole pipeline, for the page; without it the page shows this process's services. Asked at most once a second. */
  readonly overview?: () => Promise<unknown>;
}

export interface HttpServer {
  /** Base URL, `http://127.0.0.1:4000`. */
  readonly address: string;
  close(): Promise<void>;
}

const OVERVIEW_MS = 900;
const SAFE_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
} as const;

/**
 * Serves health, metrics, status and the page, for reading only.
 * @throws RestageError usage when the address cannot be taken.
 */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  const { host, port } = options;
  const server = await buildHttp(options);
  let listening: string;
  try {
    listening = await server.listen({ host, port });
  } catch (cause) {
    await server.close();
    throw new RestageError('usage', `cannot listen: ${cause instanceof Error ? cause.message : String(cause)}`, {
      where: `http.host ${host}, http.port ${port}`,
      fix: 'give a free port as http.port (0 takes any)',
      cause,
    });
  }
  return { address: `http://${bracketed(host)}:${new URL(listening).port || '80'}`, close: () => server.close() };
}

/** The server without a port of its own, as tests use it. */
export async function buildHttp(options: HttpOptions): Promise<FastifyInstance> {
  const { host, logger } = options;
  const server = Fastify({ exposeHeadRoutes: false, forceCloseConnections: true, bodyLimit: 1024 });
  server.addHook('onRequest', async (request, reply) => {
    reply.headers(SAFE_HEADERS);
    if (!isOwnHost(request.headers.host, host))
      return reply.code(403).send({ error: 'the Host header names another server' });
    if (request.method !== 'GET') return reply.code(405).header('allow', 'GET').send({ error: 'only GET' });
    return undefined;
  });
  server.setErrorHandler((error, request, reply) => {
    logger.warn({ err: error, path: request.url }, 'an HTTP request failed');
    return reply.code(500).send({ error: 'this request failed; the reason is in the log' });
  });
  await addRoutes(server, options);
  return server;
}

async function addRoutes(server: FastifyInstance, options: HttpOptions): Promise<void> {
  const statuses = 'service' in options.status ? [options.status] : options.status;
  const metrics = makeMetrics(statuses);
  const overview = shared(options.overview ?? (async () => ({ name: '', services: statuses })), options.clock);
  server.get('/livez', () => ({ status: 'alive' }));
  server.get('/readyz', (_request, reply) => {
    const readiness = readinessOf(statuses);
    return reply.code(readiness.isReady ? 200 : 503).send(readiness);
  });
  server.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await metrics.metrics()));
  server.get('/status', () => options.status);
  server.get('/overview', () => overview());
  for (const file of await readPage()) {
    server.get(file.path, (_request, reply) => reply.type(file.type).send(file.content));
  }
}

/** One question at a time however many pages ask, and its answer for a moment (invariant 6). */
function shared(ask: () => Promise<unknown>, clock: () => number): () => Promise<unknown> {
  let answer: Promise<unknown> | null = null;
  let freshUntil = 0;
  return async () => {
    if (answer !== null && clock() < freshUntil) return answer;
    freshUntil = Number.POSITIVE_INFINITY;
    answer = ask()
      .then((overview) => ({ at: clock(), overview }))
      .finally(() => {
        freshUntil = clock() + OVERVIEW_MS;
      });
    return answer;
  };
}
