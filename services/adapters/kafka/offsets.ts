import { listOffsetsV7 } from '@platformatic/kafka';
import { pause } from '#core/backoff.ts';
import type { ConnectionPool } from './connection-pool.ts';
import type { Isolation } from './fetch.ts';
import { isRetriable, protocolCode } from './kafka-error.ts';

const LATEST = -1n;
const EARLIEST = -2n;
const ELECTION_POLL_MS = 100;
const DECISION_POLL_MS = 20;
const ELECTION_LIMIT_MS = 10_000;

/** The next offset to be written, or (read_committed) the last stable offset. */
export function endOffset(pool: ConnectionPool, topic: string, isolation: Isolation): Promise<bigint> {
  return listOffset(pool, topic, LATEST, isolation);
}

export function startOffset(pool: ConnectionPool, topic: string): Promise<bigint> {
  return listOffset(pool, topic, EARLIEST, 'read_uncommitted');
}

/** Until no transaction is open on it: what InitProducerId ended may still lack its marker. */
export async function untilDecided(pool: ConnectionPool, topic: string): Promise<void> {
  while ((await endOffset(pool, topic, 'read_committed')) < (await endOffset(pool, topic, 'read_uncommitted')))
    await pause(DECISION_POLL_MS);
}

/** A topic that another service has just made, or whose broker has just started, is without a leader for a moment. */
async function listOffset(
  pool: ConnectionPool,
  topic: string,
  timestamp: bigint,
  isolation: Isolation,
): Promise<bigint> {
  const deadline = Date.now() + ELECTION_LIMIT_MS;
  for (;;) {
    try {
      return await askOffset(pool, topic, timestamp, isolation);
    } catch (error) {
      if (!isRetriable(error) || Date.now() > deadline) throw error;
      await pause(ELECTION_POLL_MS);
    }
  }
}

async function askOffset(
  pool: ConnectionPool,
  topic: string,
  timestamp: bigint,
  isolation: Isolation,
): Promise<bigint> {
  const leader = await pool.leaderOf(topic);
  const answer = await pool.request(leader, 'control', (connection) =>
    listOffsetsV7.api.async(connection, -1, isolation === 'read_committed' ? 1 : 0, [
      { name: topic, partitions: [{ partitionIndex: 0, currentLeaderEpoch: -1, timestamp }] },
    ]),
  );
  return answer.topics[0]?.partitions[0]?.offset ?? 0n;
}

/** Whether the leaders of all these topics answer for them; their places are known. */
export async function areLed(pool: ConnectionPool, topics: readonly string[]): Promise<boolean> {
  const all = [...(await pool.locate(topics)).values()];
  const leaders = new Set(all.map(({ leader }) => leader));
  try {
    for (const leader of leaders)
      await pool.request(leader, 'control', (connection) =>
        listOffsetsV7.api.async(
          connection,
          -1,
          0,
          all
            .filter((place) => place.leader === leader)
            .map(({ topic }) => ({
              name: topic,
              partitions: [{ partitionIndex: 0, currentLeaderEpoch: -1, timestamp: LATEST }],
            })),
        ),
      );
    return true;
  } catch (error) {
    if (isRetriable(error) || protocolCode(error) === null) return false;
    throw error;
  }
}
