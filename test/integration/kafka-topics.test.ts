import { ConfigResourceTypes, Kafka, logLevel } from 'kafkajs';
import pino from 'pino';
import { expect, test } from 'vitest';
import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { appendRecord, readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { ensureTopics } from '#adapters/kafka/topics.ts';
import { testKafka } from '../harness/servers.ts';

const brokers = testKafka().split(',');
const prefix = `topics-${process.pid}`;

test('history is kept without limit, and compacted topics are rolled and cleaned soon, with room for the largest batch', async () => {
  const logger = pino({ level: 'silent' });
  const pool = createConnectionPool(
    { brokers, ssl: false, sasl: null, replicationFactor: 1 },
    { clientId: 'test', logger },
  );
  try {
    await ensureTopics(pool, [`${prefix}.epochs`], { replicationFactor: 1 });
    await ensureTopics(pool, [`${prefix}.control`], { replicationFactor: 1, compacted: true });
    expect(await configsOf(`${prefix}.epochs`)).toMatchObject({
      'cleanup.policy': 'delete',
      'retention.ms': '-1',
      'retention.bytes': '-1',
    });
    expect(await configsOf(`${prefix}.control`)).toMatchObject({
      'cleanup.policy': 'compact',
      'segment.bytes': '4194304',
      'segment.ms': '600000',
      'min.cleanable.dirty.ratio': '0.1',
      'delete.retention.ms': '3600000',
    });
    const large = 'x'.repeat(2_000_000);
    await appendRecord(pool, `${prefix}.control`, 'key', large);
    expect((await readCompacted(pool, `${prefix}.control`)).get('key')?.toString()).toBe(large);
  } finally {
    await pool.close();
  }
});

async function configsOf(topic: string): Promise<Record<string, string>> {
  const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
    });
    return Object.fromEntries(resources[0]?.configEntries.map((entry) => [entry.configName, entry.configValue]) ?? []);
  } finally {
    await admin.disconnect();
  }
}
