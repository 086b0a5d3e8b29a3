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

export interface Place {
  readonly topic: string;
  readonly partition: number;
}

/** The next offset to be written, or (read_committed) the last stable offset. */
export function endOffset(pool: ConnectionPool, topic: string, isolation: Isolation, partition = 0): Promise<bigint> {
  return listOffset(pool, { topic, partition }, LATEST, isolation);
}

export function startOffset(pool: ConnectionPool, topic: string, partition = 0): Promise<bigint> {
  return listOffset(pool, { topic, partition }, EARLIEST, 'read_uncommitted');
}

/** Of every partition, in their order. The topic is there. */
export async function startOffsets(pool: ConnectionPool, topic: string): Promise<bigint[]> {
  const { leaders = [0] } = (await pool.locate([topic])).get(topic) ?? {};
  return Promise.all(leaders.map((_, partition) => startOffset(pool, topic, partition)));
}

/** Until no transaction is open on it: what InitProducerId ended may still lack its marker. */
export async function untilDecided(pool: ConnectionPool, topic: string): Promise<void> {
  while ((await endOffset(pool, topic, 'read_committed')) < (await endOffset(pool, topic, 'read_uncommitted')))
    await pause(DECISION_POLL_MS);
}

/** A topic that another service has just made, or whose broker has just started, is without a leader for a moment. */
async function listOffset(
  pool: ConnectionPool,
  place: Place,
  timestamp: bigint,
  isolation: Isolation,
): Promise<bigint> {
  const deadline = Date.now() + ELECTION_LIMIT_MS;
  for (;;) {
    try {
      return await askOffset(pool, place, timestamp, isolation);
    } catch (error) {
      if (!isRetriable(error) || Date.now() > deadline) throw error;
      await pause(ELECTION_POLL_MS);
    }
  }
}

async function askOffset(
  pool: ConnectionPool,
  { topic, partition }: Place,
  timestamp: bigint,
  isolation: Isolation,
): Promise<bigint> {
  const leader = await pool.leaderOf(topic, partition);
  const answer = await pool.request(leader, 'control', (connection) =>
    listOffsetsV7.api.async(connection, -1, isolation === 'read_committed' ? 1 : 0, [
      { name: topic, partitions: [{ partitionIndex: partition, currentLeaderEpoch: -1, timestamp }] },
    ]),
  );
  return answer.topics[0]?.partitions[0]?.offset ?? 0n;
}

/** Whether the leaders of all these topics answer for them; their places are known. */
export async function areLed(pool: ConnectionPool, topics: readonly string[]): Promise<boolean> {
  const all = [...(await pool.locate(topics)).values()];
  const leaders = new Set(all.flatMap((place) => place.leaders));
  try {
    for (const leader of leaders)
      await pool.request(leader, 'control', (connection) =>
        listOffsetsV7.api.async(
          connection,
          -1,
          0,
          all
            .filter((place) => place.leaders.includes(leader))
            .map((place) => ({
              name: place.topic,
              partitions: place.leaders.flatMap((one, partitionIndex) =>
                one === leader ? [{ partitionIndex, currentLeaderEpoch: -1, timestamp: LATEST }] : [],
              ),
            })),
        ),
      );
    return true;
  } catch (error) {
    if (isRetriable(error) || protocolCode(error) === null) return false;
    throw error;
  }
}
