import { metadataV12 } from '@platformatic/kafka';
import type { ConnectionPool } from './connection-pool.ts';

export interface ListedTopic {
  readonly name: string;
  /** Of this life of the topic: another one when it was deleted and made again (Kafka: KIP-516). */
  readonly id: string;
  readonly partitions: number;
}

/** Every topic that the user may see, without Kafka's own. @throws RestageError kafka_unreachable, kafka_auth, kafka_fault. */
export async function listTopics(pool: ConnectionPool): Promise<ListedTopic[]> {
  const metadata = await pool.request(null, 'control', (connection) => metadataV12.api.async(connection, null, false));
  return metadata.topics.flatMap(({ name, topicId, partitions, isInternal }) =>
    typeof name !== 'string' || isInternal ? [] : [{ name, id: topicId, partitions: partitions.length }],
  );
}
