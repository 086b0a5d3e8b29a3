import { heartbeatV4, joinGroupV7, leaveGroupV5, syncGroupV5 } from '@platformatic/kafka';
import { pause } from '#core/backoff.ts';
import type { Lease } from '#core/lease.ts';
import type { Logger } from '#core/log.ts';
import { GROUP_COORDINATOR, type ConnectionPool } from './connection-pool.ts';
import { isRetriable, protocolCode } from './kafka-error.ts';

export interface GroupLeaseOptions {
  readonly pool: ConnectionPool;
  readonly group: string;
  readonly logger: Logger;
}

const SESSION_MS = 10_000;
const HEARTBEAT_MS = 2_000;
const REBALANCE_MS = 10_000;
const PROTOCOL = 'restage-lease';
const HOLDING = Buffer.from('holding');
const WAITING = Buffer.from('waiting');

/**
 * A lease by membership in a consumer group (Kafka: "Group Membership Protocol"): its leader gives the lease to the member that holds
 * it, else to the first. Who is not heard of for 10 s is out.
 */
export function createGroupLease(options: GroupLeaseOptions): Lease {
  return new GroupLease(options);
}

class GroupLease implements Lease {
  readonly #options: GroupLeaseOptions;
  #lost = new AbortController();
  #ended = new AbortController();
  #keeping: Promise<void> = Promise.resolve();
  /** As the broker knows this member from its first answer on: a join under way can be left too. */
  #member = '';
  #generation = -1;
  #isHolding = false;
  #answeredAt = 0;

  constructor(options: GroupLeaseOptions) {
    this.#options = options;
    this.#lost.abort();
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async acquire(signal: AbortSignal, onWait: () => void): Promise<void> {
    if (this.#isHolding && !this.#lost.signal.aborted) return;
    await this.release();
    this.#ended = new AbortController();
    const cut = (): void => this.#options.pool.cut('group');
    signal.addEventListener('abort', cut);
    let hasWaited = false;
    try {
      for (;;) {
        signal.throwIfAborted();
        await this.#join();
        if (this.#isHolding) break;
        if (!hasWaited) onWait();
        hasWaited = true;
        while (!signal.aborted && (await this.#beat())) await pause(HEARTBEAT_MS, signal);
      }
    } finally {
      signal.removeEventListener('abort', cut);
    }
    this.#lost = new AbortController();
    this.#keeping = this.#keep(this.#lost, this.#ended.signal);
  }

  /** What is under way ends first: a second join beside it would be a second member, and each would keep the other from getting in. */
  async release(): Promise<void> {
    const { pool, group } = this.#options;
    this.#ended.abort();
    pool.cut('group');
    await this.#keeping;
    this.#isHolding = false;
    if (this.#member === '') return;
    const memberId = this.#member;
    this.#member = '';
    try {
      const coordinator = await pool.coordinator(GROUP_COORDINATOR, group);
      await pool.request(coordinator, 'group', (connection) =>
        leaveGroupV5.api.async(connection, group, [{ memberId, groupInstanceId: null, reason: null }]),
      );
    } catch (error) {
      this.#options.logger.debug({ error }, 'leaving the group failed; the session ends by itself');
    }
  }

  /** Heartbeats until the lease is lost or released; a rebalance is joined again, holding. */
  async #keep(lost: AbortController, ended: AbortSignal): Promise<void> {
    while (!ended.aborted) {
      await pause(HEARTBEAT_MS, ended);
      if (ended.aborted) return;
      try {
        if (!(await this.#beat())) await this.#join();
        if (this.#isHolding) continue;
      } catch (error) {
        if (ended.aborted) return;
        // Silent for less than a session: the group still counts us in.
        if (protocolCode(error) === null && Date.now() - this.#answeredAt < SESSION_MS - HEARTBEAT_MS) continue;
        this.#options.logger.warn({ reason: String(error) }, 'the lease is lost');
      }
      this.#isHolding = false;
      lost.abort();
      return;
    }
  }

  /** False when the group asks to join again. */
  async #beat(): Promise<boolean> {
    const { pool, group } = this.#options;
    try {
      const coordinator = await pool.coordinator(GROUP_COORDINATOR, group);
      await pool.request(coordinator, 'group', (connection) =>
        heartbeatV4.api.async(connection, group, this.#generation, this.#member, null),
      );
      this.#answeredAt = Date.now();
      return true;
    } catch (error) {
      const code = protocolCode(error);
      if (code === 'REBALANCE_IN_PROGRESS') return false;
      if (code !== 'UNKNOWN_MEMBER_ID' && code !== 'ILLEGAL_GENERATION') throw error;
      this.#member = '';
      this.#isHolding = false;
      return false;
    }
  }

  async #join(): Promise<void> {
    for (;;) {
      try {
        await this.#joinOnce();
        this.#answeredAt = Date.now();
        return;
      } catch (error) {
        const code = protocolCode(error);
        if (code === 'UNKNOWN_MEMBER_ID') this.#member = '';
        const mayRetry =
          code === 'REBALANCE_IN_PROGRESS' ||
          code === 'ILLEGAL_GENERATION' ||
          code === 'UNKNOWN_MEMBER_ID' ||
          isRetriable(error);
        if (!mayRetry || this.#ended.signal.aborted) throw error;
        await pause(100, this.#ended.signal);
      }
    }
  }

  async #joinOnce(): Promise<void> {
    const { pool, group } = this.#options;
    const coordinator = await pool.coordinator(GROUP_COORDINATOR, group);
    const metadata = this.#isHolding ? HOLDING : WAITING;
    const send = (member: string) =>
      pool.request(coordinator, 'group', (connection) =>
        joinGroupV7.api.async(connection, group, SESSION_MS, REBALANCE_MS, member, null, 'restage', [
          { name: PROTOCOL, metadata },
        ]),
      );
    const joined = await send(this.#member).catch((error: unknown) => {
      const given = memberIdOf(error);
      if (given === null) throw error;
      this.#member = given;
      return send(given);
    });
    this.#member = joined.memberId ?? '';
    this.#generation = joined.generationId;
    const isLeader = joined.leader === this.#member;
    const winner = joined.members.find((member) => member.metadata?.equals(HOLDING) === true) ?? joined.members[0];
    const assignments = isLeader
      ? joined.members.map(({ memberId }) => ({
          memberId,
          assignment: Buffer.from(memberId === winner?.memberId ? 'lease' : ''),
        }))
      : [];
    const synced = await pool.request(coordinator, 'group', (connection) =>
      syncGroupV5.api.async(
        connection,
        group,
        joined.generationId,
        this.#member,
        null,
        'restage',
        PROTOCOL,
        assignments,
      ),
    );
    this.#isHolding = synced.assignment.toString() === 'lease';
  }
}

/** The broker gives a new member its id with MEMBER_ID_REQUIRED and wants the request again (Kafka: KIP-394). */
function memberIdOf(error: unknown): string | null {
  if (protocolCode(error) !== 'MEMBER_ID_REQUIRED') return null;
  for (let at: unknown = error; typeof at === 'object' && at !== null; at = 'cause' in at ? at.cause : null) {
    if ('response' in at && typeof at.response === 'object' && at.response !== null && 'memberId' in at.response)
      return String(at.response.memberId);
  }
  return null;
}
