import { deleteGroupsV2, deleteTopicsV6, listGroupsV4, metadataV12 } from '@platformatic/kafka';
import { pause } from '#core/backoff.ts';
import { GROUP_COORDINATOR, type ConnectionPool } from './connection-pool.ts';
import { protocolCode } from './kafka-error.ts';

const TIMEOUT_MS = 30_000;
const GONE_POLL_MS = 50;

/** Every topic that the user may see. */
export async function listTopics(pool: ConnectionPool): Promise<string[]> {
  const answer = await pool.request(null, 'control', (connection) => metadataV12.api.async(connection, null, false));
  return answer.topics.flatMap(({ name }) => (typeof name === 'string' ? [name] : [])).toSorted();
}

/**
 * The function that is returned deletes the topic that it is given, and with it the others: one after the other, eight hundred take a minute.
 */
export function topicRemover(pool: ConnectionPool, topics: readonly string[]): (topic: string) => Promise<void> {
  let all: Promise<void> | null = null;
  return async (topic) => {
    all ??= deleteTopics(pool, topics);
    // What keeps one from going need not keep the others.
    await all.catch(() => deleteTopics(pool, [topic]));
  };
}

/** Waits until brokers say that they are gone; one that is gone already is no fault. */
async function deleteTopics(pool: ConnectionPool, topics: readonly string[]): Promise<void> {
  try {
    await pool.request(null, 'control', (connection) =>
      deleteTopicsV6.api.async(
        connection,
        topics.map((name) => ({ name })),
        TIMEOUT_MS,
      ),
    );
  } catch (error) {
    if (protocolCode(error) !== 'UNKNOWN_TOPIC_OR_PARTITION') throw error;
  }
  let left = topics;
  for (let deadline = Date.now() + TIMEOUT_MS; left.length > 0 && Date.now() < deadline;) {
    for (const topic of left) pool.forgetTopic(topic);
    const there = await pool.locate(left);
    if (there.size < left.length) deadline = Date.now() + TIMEOUT_MS;
    left = [...there.keys()];
    if (left.length > 0) await pause(GONE_POLL_MS + left.length);
  }
  // What an answer for many said of one may have been said of another first.
  if (topics.length > 1) for (const topic of left) await deleteTopics(pool, [topic]);
}

export interface Group {
  readonly name: string;
  readonly hasMembers: boolean;
}

/** Groups of the whole cluster: each broker tells of those that it coordinates. */
export async function listGroups(pool: ConnectionPool): Promise<Group[]> {
  const found: Group[] = [];
  const { brokers } = await pool.request(null, 'control', (connection) => metadataV12.api.async(connection, [], false));
  for (const { nodeId } of brokers) {
    const answer = await pool.request(nodeId, 'control', (connection) => listGroupsV4.api.async(connection, [], []));
    for (const { groupId, groupState } of answer.groups)
      found.push({ name: groupId, hasMembers: !/^(empty|dead)$/i.test(groupState) });
  }
  return found;
}

/** One that is gone already is no fault. */
export async function deleteGroup(pool: ConnectionPool, group: string): Promise<void> {
  const coordinator = await pool.coordinator(GROUP_COORDINATOR, group);
  try {
    await pool.request(coordinator, 'control', (connection) => deleteGroupsV2.api.async(connection, [group]));
  } catch (error) {
    if (protocolCode(error) !== 'GROUP_ID_NOT_FOUND') throw error;
  }
}
