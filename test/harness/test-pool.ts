import pino from 'pino';
import { createConnectionPool, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { testKafka } from './servers.ts';

/** Connections to the tests' Kafka, for what is asked or made beside the services. `await using` closes them. */
export function openTestPool(): ConnectionPool & AsyncDisposable {
  const kafka = { brokers: testKafka().split(','), ssl: false, sasl: null, replicationFactor: 1 };
  const pool = createConnectionPool(kafka, { clientId: 'test', logger: pino({ level: 'silent' }) });
  return Object.assign(pool, { [Symbol.asyncDispose]: () => pool.close() });
}
