import { appendRecord, readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { ensureTopics } from '#adapters/kafka/topics.ts';
import type { Logger } from '#core/log.ts';
import type { JournalRecord } from '#core/migration/journal.ts';
import { journalTopic } from '#core/topic-names.ts';
import { openControlPool } from '../control-topic.ts';
import type { Line } from './ends.ts';

/** Adds to `<name>.journal` what it lacks; keys are `target/number`. Records never change, so one that is there twice is the same twice. */
export async function copyJournal(
  { config, target }: Line,
  records: readonly JournalRecord[],
  logger: Logger,
): Promise<void> {
  if (records.length === 0) return;
  const topic = journalTopic(config.name);
  const pool = openControlPool(config, logger);
  try {
    await ensureTopics(pool, [topic], { replicationFactor: config.kafka.replicationFactor });
    const known = await readCompacted(pool, topic);
    for (const record of records) {
      const key = `${target.name}/${record.seq}`;
      if (!known.has(key)) await appendRecord(pool, topic, key, JSON.stringify(record));
    }
  } finally {
    await pool.close();
  }
}
