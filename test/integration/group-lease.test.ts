import { leaveGroupV5 } from '@platformatic/kafka';
import { Kafka, logLevel } from 'kafkajs';
import { pino } from 'pino';
import { afterEach, expect, test } from 'vitest';
import { createConnectionPool, GROUP_COORDINATOR, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createGroupLease } from '#adapters/kafka/group-lease.ts';
import type { Lease } from '#core/lease.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

const brokers = testKafka().split(',');
const group = `group-lease-${process.pid}`;
const logger = pino({ level: 'silent' });
const never = new AbortController().signal;
let opened: { pool: ConnectionPool; lease: Lease }[] = [];

function open(clientId: string): { pool: ConnectionPool; lease: Lease } {
  const pool = createConnectionPool({ brokers, ssl: false, sasl: null, replicationFactor: 1 }, { clientId, logger });
  const one = { pool, lease: createGroupLease({ pool, group, logger }) };
  opened.push(one);
  return one;
}

afterEach(async () => {
  for (const { pool, lease } of opened.toReversed()) {
    await lease.release();
    await pool.close();
  }
  opened = [];
});

test('a holder that the group has forgotten, and that fails while it joins again, waits as one member and takes over in its turn', async () => {
  const first = open('first');
  const second = open('second');
  await first.lease.acquire(never, () => undefined);
  const [takesOver] = await standBy(second.lease);

  // Silent until the other has the lease. It finds out then, and is asked to join twice: as it waits for the others its work fails too, and
  // its next attempt wants the lease.
  const silence = holdBack(first.pool);
  await forget(second.pool, await memberOf('first'));
  await takesOver;
  silence.end();
  await until(() => silence.sent() >= 3, { what: 'the first to join again' });
  const crowd = watchMembers();
  await first.lease.release();
  const [takesBack] = await standBy(first.lease);
  expect(await crowd.most('first')).toBe(1);
  expect(second.lease.lost.aborted).toBe(false);

  await second.lease.release();
  await takesBack;
  await until(async () => (await members()).length === 1, { what: 'the first to be the only member' });
  expect(first.lease.lost.aborted).toBe(false);
});

test('one that is told to end while the broker keeps its join waiting ends at once', async () => {
  const first = open('first');
  const second = open('second');
  await first.lease.acquire(never, () => undefined);
  // A member that neither rejoins nor leaves keeps everybody waiting for ten seconds.
  const silence = holdBack(first.pool);
  const told = new AbortController();
  const ended = second.lease
    .acquire(told.signal, () => undefined)
    .then(
      () => 'holding',
      () => 'ended',
    );
  await until(async () => (await stateOf()) === 'PreparingRebalance', { what: 'the join to wait' });
  told.abort();
  expect(await ended).toBe('ended');
  expect(await stateOf()).toBe('PreparingRebalance');
  silence.end();
});

/** Keeps what a pool is asked for its group, until the end. */
function holdBack(pool: ConnectionPool): { end(): void; sent(): number } {
  const request = pool.request.bind(pool);
  let end = (): void => undefined;
  let count = 0;
  const ended = new Promise<void>((resolve) => (end = resolve));
  pool.request = async (broker, channel, send) => {
    if (channel !== 'group') return request(broker, channel, send);
    await ended;
    count += 1;
    return request(broker, channel, send);
  };
  return { end, sent: () => count };
}

/** Its end is when the lease is won. */
async function standBy(lease: Lease): Promise<[won: Promise<void>]> {
  let isWaiting = false;
  const won = lease.acquire(never, () => (isWaiting = true));
  await until(() => isWaiting, { what: 'it to wait' });
  return [won];
}

/** Looks at the group again and again, until asked how many members of one client it had at most. */
function watchMembers(): { most(clientId: string): Promise<number> } {
  const looks: string[][] = [];
  let isEnough = false;
  const watching = until(
    async () => {
      looks.push((await members()).map(({ clientId }) => clientId));
      return isEnough;
    },
    { what: 'the test to have seen enough' },
  );
  return {
    async most(clientId) {
      isEnough = true;
      await watching;
      return Math.max(...looks.map((look) => look.filter((one) => one === clientId).length));
    },
  };
}

async function forget(pool: ConnectionPool, memberId: string): Promise<void> {
  const coordinator = await pool.coordinator(GROUP_COORDINATOR, group);
  await pool.request(coordinator, 'control', (connection) =>
    leaveGroupV5.api.async(connection, group, [{ memberId, groupInstanceId: null, reason: null }]),
  );
}

async function memberOf(clientId: string): Promise<string> {
  const found = (await members()).find((member) => member.clientId === clientId);
  return found?.memberId ?? '';
}

async function members(): Promise<readonly { memberId: string; clientId: string }[]> {
  return (await describeGroup()).members;
}

async function stateOf(): Promise<string> {
  return (await describeGroup()).state;
}

async function describeGroup(): Promise<{ state: string; members: { memberId: string; clientId: string }[] }> {
  const admin = new Kafka({ clientId: 'test', brokers, logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    const [described] = (await admin.describeGroups([group])).groups;
    return described ?? { state: 'none', members: [] };
  } finally {
    await admin.disconnect();
  }
}
