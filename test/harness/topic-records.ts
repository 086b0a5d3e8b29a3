import { Kafka, logLevel } from 'kafkajs';
import { testKafka } from './servers.ts';
import { until } from './until.ts';

/** A record as another Kafka client reads it. */
export interface ReadRecord {
  readonly topic: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: ReadonlyMap<string, Buffer>;
  /** Milliseconds since 1970, as the topic keeps it. */
  readonly timestamp: number;
}

/** The committed records of these topics, in order per topic: when `isEnough` says so, or what is there at the deadline. */
export async function readTopics(
  topics: readonly string[],
  isEnough: (records: readonly ReadRecord[], newest: ReadRecord) => boolean,
  timeoutMs = 20_000,
): Promise<ReadRecord[]> {
  const kafka = new Kafka({ brokers: [testKafka()], logLevel: logLevel.NOTHING });
  const consumer = kafka.consumer({ groupId: `reader-${process.pid}-${Math.random()}`, readUncommitted: false });
  const records: ReadRecord[] = [];
  const admin = kafka.admin();
  await Promise.all([consumer.connect(), admin.connect()]);
  try {
    const isThere = async (): Promise<boolean> => {
      const known = new Set(await admin.listTopics());
      return topics.every((topic) => known.has(topic));
    };
    await until(isThere, { what: `topics ${topics.join(', ')}` });
    for (const topic of topics) await consumer.subscribe({ topic, fromBeginning: true });
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      void consumer.run({
        eachMessage: async ({ topic, message }) => {
          const headers = Object.entries(message.headers ?? {}).map(
            ([name, value]) => [name, Buffer.isBuffer(value) ? value : Buffer.from(String(value))] as const,
          );
          const { key, value, timestamp } = message;
          const record = { topic, key, value, headers: new Map(headers), timestamp: Number(timestamp) };
          records.push(record);
          if (!isEnough(records, record)) return;
          clearTimeout(timer);
          resolve();
        },
      });
    });
    return records;
  } finally {
    await Promise.all([consumer.disconnect(), admin.disconnect()]);
  }
}
