import { connect } from 'node:net';
import { askVersion } from '#infra/providers/postgres-process.ts';
import type { KafkaProvider, PostgresProvider } from '#infra/providers/provider.ts';

/** Superuser URLs in RESTAGE_POSTGRES_URLS, separated by commas: each start takes the next one. */
export function givenPostgres(env: NodeJS.ProcessEnv): PostgresProvider {
  const urls = (env['RESTAGE_POSTGRES_URLS'] ?? '')
    .split(',')
    .map((url) => url.trim())
    .filter((url) => url !== '');
  let next = 0;
  return {
    name: 'the servers in RESTAGE_POSTGRES_URLS',
    async probe() {
      const url = urls[next];
      if (url === undefined) return urls.length === 0 ? 'it is not set' : `it names ${urls.length} and more are wanted`;
      return (await askVersion(url)) === null ? `address ${next + 1} of it does not answer` : null;
    },
    async start() {
      const url = urls[next++] ?? '';
      const version = (await askVersion(url)) ?? '';
      return { url, version, port: Number(new URL(url).port || 5432), binDir: null, stop: async () => undefined };
    },
  };
}

/** Bootstrap brokers in RESTAGE_KAFKA. */
export function givenKafka(env: NodeJS.ProcessEnv): KafkaProvider {
  const brokers = env['RESTAGE_KAFKA'] ?? '';
  const first = new URL(`kafka://${brokers.split(',')[0] || 'none:0'}`);
  return {
    name: 'the brokers in RESTAGE_KAFKA',
    async probe() {
      if (brokers === '') return 'it is not set';
      return (await canConnect(first.hostname, Number(first.port))) ? null : `${first.host} does not answer`;
    },
    async start() {
      return { brokers, port: Number(first.port), version: 'given', stop: async () => undefined };
    },
  };
}

async function canConnect(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 3_000 });
    const end = (isOpen: boolean): void => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
    socket.once('timeout', () => end(false));
  });
}
