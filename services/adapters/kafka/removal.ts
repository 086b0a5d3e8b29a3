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

/** Deletes a topic and waits until brokers say that it is gone; one that is gone already is no fault. */
export async function deleteTopic(pool: ConnectionPool, topic: string): Promise<void> {
  try {
    await pool.request(null, 'control', (connection) =>
      deleteTopicsV6.api.async(connection, [{ name: topic }], TIMEOUT_MS),
    );
  } catch (error) {
    if (protocolCode(error) !== 'UNKNOWN_TOPIC_OR_PARTITION') throw error;
  }
  for (const deadline = Date.now() + TIMEOUT_MS; Date.now() < deadline; await pause(GONE_POLL_MS)) {
    pool.forgetTopic(topic);
    if (!(await pool.isThere(topic))) return;
  }
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
