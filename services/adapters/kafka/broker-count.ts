import { metadataV12 } from '@platformatic/kafka';
import type { ConnectionPool } from './connection-pool.ts';

/** How many brokers the cluster has now (Kafka: Metadata). @throws RestageError kafka_unreachable or kafka_auth. */
export async function countBrokers(pool: ConnectionPool): Promise<number> {
  const { brokers } = await pool.request(null, 'control', (connection) => metadataV12.api.async(connection, [], false));
  return brokers.length;
}
