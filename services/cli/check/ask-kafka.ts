import pino from 'pino';
import { createConnectionPool, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import type { Config } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';

/** Where Kafka is away `kafka.topics` says so, and no other check again. */
export async function askKafka<T, const U>(
  config: Config,
  otherwise: U,
  work: (pool: ConnectionPool) => Promise<T>,
): Promise<T | U> {
  try {
    return await withPool(config, work);
  } catch (error) {
    if (error instanceof RestageError && error.code.startsWith('kafka_')) return otherwise;
    throw error;
  }
}

/** For the time of one check. */
export async function withPool<T>(config: Config, work: (pool: ConnectionPool) => Promise<T>): Promise<T> {
  const pool = createConnectionPool(config.kafka, {
    clientId: `restage-${config.name}-check`,
    logger: pino({ level: 'silent' }),
  });
  try {
    return await work(pool);
  } finally {
    await pool.close();
  }
}
