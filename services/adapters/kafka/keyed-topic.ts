import { RecordBatchBuilder } from '#core/record-batch.ts';
import { NO_HEADERS } from '#core/fixed-headers.ts';
import { type KafkaRecord } from '#core/record.ts';
import { committedRecords } from './committed-records.ts';
import type { ConnectionPool } from './connection-pool.ts';
import { endOffset, startOffset, untilDecided } from './offsets.ts';
import { fetchBatches } from './partition-reader.ts';
import { produceBatches } from './produce.ts';

const LONG_POLL_MS = 500;

/** The latest value of each key in the order in which they were written, up to the end as it is now; a tombstone removes its key. */
export async function readCompacted(pool: ConnectionPool, topic: string): Promise<Map<string, Buffer>> {
  const values = new Map<string, Buffer>();
  const end = await endOffset(pool, topic, 'read_committed');
  for await (const records of readUpTo(pool, topic, end)) {
    for (const record of records) {
      if (record.key === null) continue;
      const key = record.key.toString('utf8');
      values.delete(key);
      if (record.value !== null) values.set(key, record.value);
    }
  }
  return values;
}

/**
 * All committed records of a topic in the order in which they were written; none where there is no such topic. For its only writer, after
 * InitProducerId: the markers of what that ended are waited for.
 */
export async function* readDecided(pool: ConnectionPool, topic: string): AsyncGenerator<readonly KafkaRecord[]> {
  if (!(await pool.isThere(topic))) return;
  await untilDecided(pool, topic);
  yield* readUpTo(pool, topic, await endOffset(pool, topic, 'read_committed'));
}

async function* readUpTo(pool: ConnectionPool, topic: string, end: bigint): AsyncGenerator<readonly KafkaRecord[]> {
  for (let next = await startOffset(pool, topic); next < end;) {
    const { batches, fetched } = await fetchBatches(
      pool,
      { topic, partition: 0, isolation: 'read_committed', channel: 'read', maxWaitMs: 0 },
      next,
    );
    const first = next;
    next = (batches.at(-1)?.lastOffset ?? end) + 1n;
    yield committedRecords(batches, fetched.aborted).filter(({ offset }) => offset >= first);
  }
}

/** Writes one record outside any transaction; at least once. Resolves when all replicas have it. */
export async function appendRecord(
  pool: ConnectionPool,
  topic: string,
  key: string,
  value: string | null,
): Promise<void> {
  const builder = new RecordBatchBuilder();
  builder.append(key, value, NO_HEADERS);
  const batch = builder.seal({
    producerId: -1n,
    producerEpoch: -1,
    baseSequence: -1,
    timestampMs: Date.now(),
    compress: false,
    transactional: false,
  });
  const leader = await pool.leaderOf(topic);
  await pool.request(leader, 'control', (connection) =>
    produceBatches(connection, null, [{ topic, partition: 0, batch }]),
  );
}

/** Records from an offset on, as they come, until aborted. */
export async function* follow(
  pool: ConnectionPool,
  topic: string,
  from: bigint,
  signal: AbortSignal,
): AsyncGenerator<readonly KafkaRecord[]> {
  for (let next = from; !signal.aborted;) {
    const query = {
      topic,
      partition: 0,
      isolation: 'read_committed',
      channel: 'poll',
      maxWaitMs: LONG_POLL_MS,
    } as const;
    const { batches, fetched } = await fetchBatches(pool, query, next);
    const first = next;
    next = (batches.at(-1)?.lastOffset ?? next - 1n) + 1n;
    const records = committedRecords(batches, fetched.aborted).filter((record) => record.offset >= first);
    if (records.length > 0) yield records;
  }
}
