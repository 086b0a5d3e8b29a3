import { Kafka, logLevel, type Admin } from 'kafkajs';
import { testKafka } from './servers.ts';
import { until } from './until.ts';

/** An administrator of the run's Kafka. `await using` disconnects it. */
export async function openAdmin(): Promise<Admin & AsyncDisposable> {
  const admin = new Kafka({ brokers: testKafka().split(','), logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  return Object.assign(admin, { [Symbol.asyncDispose]: () => admin.disconnect() });
}

/** Deletes a topic and waits until it is gone; `again` then makes an empty one of the same name. */
export async function deleteTopic(admin: Admin, topic: string, again = false): Promise<void> {
  await admin.deleteTopics({ topics: [topic] });
  await until(async () => !(await admin.listTopics()).includes(topic), { what: `${topic} to be gone` });
  if (!again) return;
  await admin.createTopics({ topics: [{ topic, numPartitions: 1, replicationFactor: 1 }], waitForLeaders: false });
  await until(() => admin.fetchTopicOffsets(topic), { what: `${topic} to be there again` });
}

/** As retention does: what a topic of one partition holds now is gone. */
export async function emptyTopic(admin: Admin, topic: string): Promise<void> {
  const [end] = await admin.fetchTopicOffsets(topic);
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: end?.high ?? '0' }] });
}
