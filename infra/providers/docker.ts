import { spawnSync } from 'node:child_process';
import { freePort } from '#infra/free-port.ts';
import type { KafkaProvider, PostgresProvider } from '#infra/providers/provider.ts';

const POSTGRES_IMAGE = 'postgres:18';
const KAFKA_IMAGE = 'apache/kafka:4.3.0';

/** The part of testcontainers used here; the package is optional, so its own types may be absent. */
interface Containers {
  readonly GenericContainer: new (image: string) => Container;
}

interface Container {
  withEnvironment(env: Record<string, string>): Container;
  withCommand(command: string[]): Container;
  withExposedPorts(...ports: { container: number; host: number }[]): Container;
  start(): Promise<{ stop(): Promise<unknown> }>;
}

/** PostgreSQL in a container. testcontainers' reaper removes it should we be killed. */
export function dockerPostgres(): PostgresProvider {
  return {
    name: `${POSTGRES_IMAGE} in Docker`,
    probe: probeDocker,
    async start(options) {
      const port = options.port ?? (await freePort());
      const { GenericContainer } = await loadContainers();
      const container = await new GenericContainer(POSTGRES_IMAGE)
        .withEnvironment({ POSTGRES_PASSWORD: 'restage' })
        .withCommand([
          'postgres',
          '-c',
          'wal_level=logical',
          '-c',
          'max_wal_senders=20',
          '-c',
          'max_replication_slots=20',
          '-c',
          `fsync=${options.durable === false ? 'off' : 'on'}`,
        ])
        .withExposedPorts({ container: 5432, host: port })
        .start();
      return {
        url: `postgresql://postgres:restage@127.0.0.1:${port}/postgres`,
        port,
        version: '18',
        binDir: null,
        stop: async () => void (await container.stop()),
      };
    },
  };
}

/** Kafka in a container. */
export function dockerKafka(): KafkaProvider {
  return {
    name: `${KAFKA_IMAGE} in Docker`,
    probe: probeDocker,
    async start(options) {
      const port = options.port ?? (await freePort());
      const { GenericContainer } = await loadContainers();
      const container = await new GenericContainer(KAFKA_IMAGE)
        .withEnvironment(kafkaEnvironment(port))
        .withExposedPorts({ container: port, host: port })
        .start();
      return { brokers: `127.0.0.1:${port}`, port, version: '4.3.0', stop: async () => void (await container.stop()) };
    },
  };
}

function kafkaEnvironment(port: number): Record<string, string> {
  return {
    KAFKA_NODE_ID: '1',
    KAFKA_PROCESS_ROLES: 'broker,controller',
    KAFKA_LISTENERS: `PLAINTEXT://:${port},CONTROLLER://:9093`,
    KAFKA_ADVERTISED_LISTENERS: `PLAINTEXT://127.0.0.1:${port}`,
    KAFKA_CONTROLLER_LISTENER_NAMES: 'CONTROLLER',
    KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    KAFKA_CONTROLLER_QUORUM_VOTERS: '1@localhost:9093',
    KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: '1',
    KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: '1',
    KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: '1',
    KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: '0',
    KAFKA_MESSAGE_MAX_BYTES: '134217728',
    KAFKA_AUTO_CREATE_TOPICS_ENABLE: 'false',
  };
}

async function probeDocker(): Promise<string | null> {
  const { status } = spawnSync('docker', ['info'], { stdio: 'ignore', timeout: 3_000 });
  if (status !== 0) return 'no Docker engine answers';
  try {
    await loadContainers();
    return null;
  } catch {
    return 'the package testcontainers is not installed';
  }
}

async function loadContainers(): Promise<Containers> {
  const name = 'testcontainers';
  return (await import(name)) as Containers;
}
