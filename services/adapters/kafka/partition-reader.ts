import { RestageError } from '#core/errors.ts';
import type { Channel, ConnectionPool } from './connection-pool.ts';
import { fetchPartition, type Fetched, type Isolation } from './fetch.ts';
import { KafkaCodeError, kafkaError } from './kafka-error.ts';
import type { JoinedFetches } from './joined-fetches.ts';
import { decodeBatches, firstBatchBytes, type DecodedBatch } from './record-batch-decoder.ts';

export interface PartitionQuery {
  readonly topic: string;
  readonly partition: number;
  readonly isolation: Isolation;
  readonly channel: Channel;
  readonly maxWaitMs: number;
}

export interface FetchedBatches {
  readonly batches: readonly DecodedBatch[];
  /** Of all that was fetched. */
  readonly bytes: number;
  readonly fetched: Fetched;
}

const FETCH_BYTES = 4 * 1024 * 1024;
const OFFSET_OUT_OF_RANGE = 1;

/** The batches from `offset` on, perhaps none yet. `joined`: with what others ask for at the same time. @throws RestageError history_lost when the log does not have that offset. */
export async function fetchBatches(
  pool: ConnectionPool,
  query: PartitionQuery,
  offset: bigint,
  joined: JoinedFetches | null = null,
): Promise<FetchedBatches> {
  const { topic, partition } = query;
  const where = `topic ${topic}, partition ${partition}, offset ${offset}`;
  const leader = await pool.leaderOf(topic, partition);
  let maxBytes = FETCH_BYTES;
  for (;;) {
    const asked = { ...query, offset, maxBytes };
    const fetched = await (joined === null
      ? pool.request(leader, query.channel, (connection) => fetchPartition(connection, asked))
      : joined.fetch(leader, asked));
    if (fetched.errorCode === OFFSET_OUT_OF_RANGE) throw historyLost(where);
    if (fetched.errorCode !== 0) {
      pool.forgetTopic(topic);
      throw kafkaError(new KafkaCodeError(fetched.errorCode, where), []);
    }
    if (fetched.logStart > offset) throw historyLost(`${where}; the log starts at ${fetched.logStart}`);
    const batches = decodeBatches(fetched.bytes, where);
    if (batches.length > 0 || fetched.bytes.length === 0) return { batches, bytes: fetched.bytes.length, fetched };
    maxBytes = Math.max(maxBytes * 2, firstBatchBytes(fetched.bytes));
  }
}

export function historyLost(where: string): RestageError {
  return new RestageError('history_lost', 'Kafka no longer has records that a manifest names', {
    where,
    fix: 'a topic was deleted, truncated by retention, or made again: start the pipeline anew under another name, with unlimited retention',
  });
}
