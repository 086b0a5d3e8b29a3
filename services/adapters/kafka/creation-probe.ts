import { createTopicsV7 } from '@platformatic/kafka';
import { epochsTopic } from '#core/topic-names.ts';
import type { ConnectionPool } from './connection-pool.ts';
import { protocolCode } from './kafka-error.ts';
import { LARGEST_MESSAGE_BYTES } from './topics.ts';

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

/**
 * Sees to it that Kafka answers and that the topics of epochs are there or could be made; makes nothing.
 * @throws RestageError config_invalid (too few brokers for the copies asked for), kafka_unreachable, kafka_auth or kafka_denied.
 */
export async function requireReadyKafka(
  pool: ConnectionPool,
  prefix: string,
  replicationFactor: number,
): Promise<void> {
  const topic = epochsTopic(prefix);
  if (await pool.isThere(topic)) return;
  try {
    await probeTopicCreation(pool, topic, replicationFactor, LARGEST_MESSAGE_BYTES);
  } catch (error) {
    if (protocolCode(error) !== 'TOPIC_ALREADY_EXISTS') throw error;
  }
}
