import { createTopicsV7 } from '@platformatic/kafka';
import type { ConnectionPool } from './connection-pool.ts';

const TIMEOUT_MS = 10_000;

/**
 * Asks the broker whether it would make a topic as Restage makes them, without making it (Kafka: CreateTopics, validate_only):
 * the right to, the replication factor and the size of messages.
 * @throws RestageError kafka_unreachable, kafka_auth or kafka_fault with the broker's reason.
 */
export async function probeTopicCreation(
  pool: ConnectionPool,
  name: string,
  replicationFactor: number,
  messageBytes: number,
): Promise<void> {
  const configs = [
    { name: 'max.message.bytes', value: String(messageBytes) },
    { name: 'retention.ms', value: '-1' },
  ];
  const topic = { name, numPartitions: 1, replicationFactor, assignments: [], configs };
  await pool.request(null, 'control', (connection) => createTopicsV7.api.async(connection, [topic], TIMEOUT_MS, true));
}
