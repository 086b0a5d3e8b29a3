import { deadLetterHeaders, type DeadLetter } from '#core/dead-letter.ts';
import { encodeHeaders } from '#core/fixed-headers.ts';
import { TopicBatches } from '#core/topic-batches.ts';
import { deadLetterTopic } from '#core/topic-names.ts';
import type { ConnectionPool } from './connection-pool.ts';
import { produceBatches } from './produce.ts';
import { ensureTopics } from './topics.ts';

/** Puts dead letters among the records of `<name>.dlq`: key and value as they were, headers with the reason. */
export function appendDeadLetters(out: TopicBatches, name: string, letters: readonly DeadLetter[]): void {
  for (const letter of letters)
    out.appendRow(deadLetterTopic(name), letter.key, letter.value, encodeHeaders(deadLetterHeaders(letter)));
}

/** Writes dead letters to `<name>.dlq`, outside any transaction; made where it is missing. Resolves when all replicas have them. */
export async function sendDeadLetters(
  pool: ConnectionPool,
  name: string,
  replicationFactor: number,
  letters: readonly DeadLetter[],
): Promise<void> {
  const topic = deadLetterTopic(name);
  await ensureTopics(pool, [topic], { replicationFactor });
  const out = new TopicBatches();
  appendDeadLetters(out, name, letters);
  for (const { partition, batches } of out.finish()) {
    const leader = await pool.leaderOf(topic, partition);
    for (const one of batches) {
      const stamp = { producerId: -1n, producerEpoch: -1, baseSequence: -1, timestampMs: Date.now() };
      const batch = one.seal({ ...stamp, compress: true, transactional: false });
      await pool.request(leader, 'control', (connection) =>
        produceBatches(connection, null, [{ topic, partition, batch }]),
      );
    }
  }
}
