import type { KafkaRecord } from '#core/record.ts';
import { PieceJoiner } from '#core/record-pieces.ts';
import { committedRecords } from './committed-records.ts';
import type { ConnectionPool } from './connection-pool.ts';
import type { Place } from './offsets.ts';
import { fetchBatches } from './partition-reader.ts';

const LONG_POLL_MS = 500;

/**
 * The committed records of a partition from one offset to another, both with what lies between, in fetches as large as a
 * broker gives: where single epochs do not count, that is many times quicker than range after range. @throws RestageError history_lost.
 */
export async function* readCommittedSpan(
  pool: ConnectionPool,
  { topic, partition }: Place,
  span: { readonly first: bigint; readonly last: bigint },
  signal: AbortSignal,
): AsyncGenerator<readonly KafkaRecord[]> {
  const query = { topic, partition, isolation: 'read_committed', channel: 'read', maxWaitMs: LONG_POLL_MS } as const;
  const joiner = new PieceJoiner(`topic ${topic}, partition ${partition}`);
  for (let next = span.first; next <= span.last;) {
    signal.throwIfAborted();
    const { batches, fetched } = await fetchBatches(pool, query, next);
    const from = next;
    const records = committedRecords(batches, fetched.aborted).filter(
      ({ offset }) => offset >= from && offset <= span.last,
    );
    next = (batches.at(-1)?.lastOffset ?? next - 1n) + 1n;
    const whole = joiner.take(records);
    if (whole.length > 0) yield whole;
  }
}
