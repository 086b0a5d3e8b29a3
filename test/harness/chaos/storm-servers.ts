import { pino } from 'pino';
import { createConnectionPool, TRANSACTION_COORDINATOR } from '#adapters/kafka/connection-pool.ts';
import { freePort } from '#infra/free-port.ts';
import { Infrastructure } from '#infra/infrastructure.ts';
import { askVersion } from '#infra/providers/postgres-process.ts';
import { readTail } from '#infra/processes.ts';
import type { KafkaServer, PostgresServer } from '#infra/providers/provider.ts';
import { SeededRandom } from '../random.ts';
import { TcpProxy } from '../tcp-proxy.ts';
import { until } from '../until.ts';

export type ServerName = 'kafka' | 'source' | 'target';
export const SERVER_NAMES: readonly ServerName[] = ['kafka', 'source', 'target'];

const READY_LIMIT_MS = 120_000;

interface Addresses {
  readonly brokers: string;
  readonly source: string;
  readonly target: string;
}

/** A Kafka and two PostgreSQL servers of one test's own, each with a link that can be spoilt between it and the services. */
export class StormServers implements AsyncDisposable {
  /** Straight to the servers. */
  readonly direct: Addresses;
  /** Through the links. */
  readonly linked: Addresses;
  readonly links: Readonly<Record<ServerName, TcpProxy>>;
  readonly #infrastructure: Infrastructure;
  readonly #servers: Readonly<Record<ServerName, KafkaServer | PostgresServer>>;

  private constructor(
    infrastructure: Infrastructure,
    servers: { readonly kafka: KafkaServer; readonly source: PostgresServer; readonly target: PostgresServer },
    links: Readonly<Record<ServerName, TcpProxy>>,
  ) {
    this.#infrastructure = infrastructure;
    this.#servers = servers;
    this.links = links;
    const { kafka, source, target } = servers;
    this.direct = { brokers: kafka.brokers, source: source.url, target: target.url };
    this.linked = {
      brokers: `127.0.0.1:${links.kafka.port}`,
      source: withPort(source.url, links.source.port),
      target: withPort(target.url, links.target.port),
    };
  }

  static async open(seed: number): Promise<StormServers> {
    const infrastructure = await Infrastructure.open({
      say: (line) => process.stderr.write(`${line}\n`),
      durable: false,
    });
    // A crash of the server alone keeps what it gave to the operating system, but only a commit that waited is in there.
    const settings = { synchronous_commit: 'on' };
    const random = new SeededRandom(seed);
    const [direct, linked, controller] = [await freePort(), await freePort(), await freePort()];
    const kafkaLink = await TcpProxy.open(linked, random);
    const [kafka, source, target] = await Promise.all([
      infrastructure.startKafka({ port: direct, settings: listeners(direct, linked, kafkaLink.port, controller) }),
      infrastructure.startPostgres({ name: 'storm-source', from: 'machine', settings }),
      infrastructure.startPostgres({ name: 'storm-target', from: 'machine', settings }),
    ]);
    const links = {
      kafka: kafkaLink,
      source: await TcpProxy.open(source.port, random),
      target: await TcpProxy.open(target.port, random),
    };
    return new StormServers(infrastructure, { kafka, source, target }, links);
  }

  /** In good order, or at once; it may not answer yet when this resolves. */
  async restart(name: ServerName, how: 'stop' | 'crash'): Promise<void> {
    await this.#servers[name].restart?.(how);
  }

  /** All of them answer again: on a busy machine a broker takes most of a minute to start, which the services are not to be judged by. */
  async awaitReady(): Promise<void> {
    for (const url of [this.direct.source, this.direct.target])
      await until(async () => (await askVersion(url)) !== null, {
        what: 'PostgreSQL to answer',
        timeoutMs: READY_LIMIT_MS,
      });
    const kafka = { brokers: [this.direct.brokers], ssl: false, sasl: null, replicationFactor: 1 };
    const pool = createConnectionPool(kafka, { clientId: 'storm', logger: pino({ level: 'silent' }) });
    try {
      await until(async () => (await pool.coordinator(TRANSACTION_COORDINATOR, 'storm')) >= 0, {
        what: 'Kafka to coordinate transactions',
        timeoutMs: READY_LIMIT_MS,
      });
    } finally {
      await pool.close();
    }
  }

  /** The ends of the servers' logs. */
  lastWords(): string {
    return SERVER_NAMES.map((name) => `${name}: ${readTail(this.#servers[name].logFile ?? '')}`).join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of SERVER_NAMES) await this.links[name][Symbol.asyncDispose]();
    await this.#infrastructure.stop();
  }
}

/** Kafka: "Broker Configs", listeners. What clients learn of the broker is the link's port; the broker itself goes straight. */
function listeners(direct: number, linked: number, link: number, controller: number): Record<string, string> {
  return {
    listeners: `PLAINTEXT://127.0.0.1:${direct},LINKED://127.0.0.1:${linked},CONTROLLER://127.0.0.1:${controller}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${direct},LINKED://127.0.0.1:${link}`,
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,LINKED:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'inter.broker.listener.name': 'PLAINTEXT',
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
  };
}

function withPort(url: string, port: number): string {
  const other = new URL(url);
  other.port = String(port);
  return other.href;
}
