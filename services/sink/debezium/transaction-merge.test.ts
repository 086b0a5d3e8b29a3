import { expect, test } from 'vitest';
import { newTopicState } from '#adapters/postgres/target/debezium-state.ts';
import type { ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { eventReader } from '#core/debezium-source/event.ts';
import { JsonReader } from '#core/debezium-source/json-reader.ts';
import { NO_MARK } from '#core/debezium-source/stream-mark.ts';
import { LSN_ZERO } from '#core/lsn.ts';
import type { KafkaRecord } from '#core/record.ts';
import { newStatus } from '#core/status.ts';
import type { EventIntake } from './event-intake.ts';
import { TargetBatch } from './target-batch.ts';
import { TopicFeed } from './topic-feed.ts';
import { TopicReader } from './topic-reader.ts';
import { TransactionMerge } from './transaction-merge.ts';

interface Told {
  readonly xid: number;
  /** The commit before its transaction. */
  readonly after: number;
  readonly lsn: number;
  readonly order: number;
  readonly own: number;
}

/** As Debezium counts logical messages: no topic has them under this name. */
const MESSAGE = ['io.debezium.connector.postgresql.LogicalDecodingMessageMonitor$LogicalDecodingMessageId@3f65fea0'];
const BARE = new JsonReader(false);

/** A topic whose records come one fetch after another. */
class ToldFeed extends TopicFeed {
  readonly #coming: KafkaRecord[];

  constructor(topic: string, coming: readonly string[]) {
    super({} as ConnectionPool, topic, 0n, () => Promise.resolve());
    this.#coming = coming.map((value, at) => ({
      offset: BigInt(at),
      key: Buffer.from('{"id":1}'),
      value: Buffer.from(value),
      headers: new Map(),
    }));
  }

  override fill(): Promise<boolean> {
    const next = this.#coming.shift();
    if (next !== undefined) this.records.push(next);
    return Promise.resolve(next !== undefined);
  }
}

function event(table: string, { xid, after, lsn, order, own }: Told): string {
  const source = {
    connector: 'postgresql',
    schema: 'public',
    table,
    lsn,
    sequence: `["${after}","${lsn}"]`,
    ts_ms: 1,
    snapshot: 'false',
  };
  return JSON.stringify({
    op: 'c',
    after: { id: 1 },
    source,
    transaction: { id: `${xid}:${lsn}`, total_order: order, data_collection_order: own },
  });
}

function end(xid: number, lsn: number, counts: Readonly<Record<string, number>>, more: readonly string[] = []): string {
  const collections = [
    ...Object.entries(counts).map(([name, count]) => ({ data_collection: `public.${name}`, event_count: count })),
    ...more.map((name) => ({ data_collection: name, event_count: 1 })),
  ];
  return JSON.stringify({ status: 'END', id: `${xid}:${lsn}`, ts_ms: 1, data_collections: collections });
}

/** What was taken, in order, as table and number. */
async function merge(
  ends: readonly string[],
  topics: Readonly<Record<string, readonly string[]>>,
  rounds = 20,
): Promise<string[]> {
  const taken: string[] = [];
  const readers = new Map(
    Object.entries(topics).map(([table, coming]) => {
      const topic = `dbz.public.${table}`;
      const read = eventReader(
        topic,
        (bytes) => BARE.read(bytes),
        (bytes) => BARE.read(bytes),
      );
      const feed = new ToldFeed(topic, coming);
      return [topic, new TopicReader(feed, newTopicState('1'), read, () => null)] as const;
    }),
  );
  const intake: Pick<EventIntake, 'take' | 'leaveOut' | 'through'> = {
    through: LSN_ZERO,
    leaveOut(reader, { records }) {
      taken.push(`${reader.topic.split('.').at(-1)} left out`);
      reader.take(records);
      return Promise.resolve();
    },
    take(reader, { event: { table, transaction }, records }) {
      taken.push(`${table.table} ${transaction?.xid}.${transaction?.order}`);
      reader.take(records);
      return Promise.resolve(1 as const);
    },
  };
  const feed = new ToldFeed('dbz.transaction', ends);
  const whole = new TransactionMerge({
    feed,
    read: (bytes) => BARE.read(bytes),
    mark: NO_MARK,
    intake: intake as EventIntake,
    readerOf: (names) => {
      const found = names.map((name) => readers.get(name)).find((one) => one !== undefined);
      // The service waits for a topic that its pattern chooses.
      if (found === undefined && !names.includes('dbz.public.other')) throw new Error(`no topic ${names.join(', ')}`);
      return Promise.resolve(found ?? null);
    },
    status: newStatus('sink', 'new'),
    signal: AbortSignal.timeout(2_000),
    onTaken: () => Promise.resolve(),
  });
  for (let round = 0; round < rounds; round += 1) {
    await feed.fill();
    for (const reader of readers.values()) await whole.takeLoose(reader, new TargetBatch());
    await whole.takeTransaction(new TargetBatch());
    for (const reader of readers.values()) await reader.feed.fill();
  }
  return taken;
}

test('events of several topics come in the order of their transaction, those that Debezium repeats once', async () => {
  const [a1, a3] = [
    { xid: 5, after: 10, lsn: 11, order: 1, own: 1 },
    { xid: 5, after: 10, lsn: 13, order: 3, own: 2 },
  ];
  const b2 = { xid: 5, after: 10, lsn: 12, order: 2, own: 1 };
  const next = { xid: 4, after: 20, lsn: 9, order: 1, own: 1 };
  const taken = await merge(
    [end(5, 20, { a: 2, b: 1, other: 7 }, MESSAGE), end(5, 20, { a: 2, b: 1 }), end(4, 30, { a: 1 })],
    {
      a: [event('a', a1), event('a', a3), event('a', a1), event('a', a3), event('a', next)],
      b: [event('b', b2), event('b', b2)],
    },
  );
  expect(taken).toEqual(['a 5.1', 'b 5.2', 'a 5.3', 'a 4.1']);
});

test('a missing event stops it, and an event under another topic than its table does', async () => {
  const second = event('a', { xid: 5, after: 10, lsn: 11, order: 2, own: 2 });
  await expect(merge([end(5, 20, { a: 2 })], { a: [second] })).rejects.toThrow(
    'events of public.a are missing that transaction 5',
  );
  const later = event('a', { xid: 6, after: 20, lsn: 21, order: 1, own: 1 });
  await expect(merge([end(5, 20, { a: 1 })], { a: [later] })).rejects.toThrow('are missing');
  const routed = event('b', { xid: 5, after: 10, lsn: 11, order: 1, own: 1 });
  await expect(merge([end(5, 20, { a: 1 })], { a: [routed] })).rejects.toThrow('its topic is not the one');
});

test('a transaction is not begun before its tables have their first events', async () => {
  const [a, b] = [
    event('a', { xid: 5, after: 10, lsn: 11, order: 1, own: 1 }),
    event('b', { xid: 5, after: 10, lsn: 12, order: 2, own: 1 }),
  ];
  expect(await merge([end(5, 20, { a: 1, b: 1 })], { a: [a], b: [] })).toEqual([]);
  expect(await merge([end(5, 20, { a: 1, b: 1 })], { a: [a], b: ['{"ts_ms":1}', b] })).toEqual(['a 5.1', 'b 5.2']);
});

const BROKEN = '{"op":';

test('a record that cannot be read is one that the transaction counts, where events show that one is missing', async () => {
  const [first, third] = [
    event('a', { xid: 5, after: 10, lsn: 11, order: 1, own: 1 }),
    event('a', { xid: 5, after: 10, lsn: 13, order: 3, own: 3 }),
  ];
  expect(await merge([end(5, 20, { a: 3 })], { a: [first, BROKEN, third] })).toEqual(['a 5.1', 'a left out', 'a 5.3']);
  const fourth = event('a', { xid: 5, after: 10, lsn: 14, order: 4, own: 4 });
  await expect(merge([end(5, 20, { a: 4 })], { a: [first, BROKEN, fourth] })).rejects.toThrow('are missing');
});

test('what was taken for such a record and comes after all is applied; repeats of what was applied are not', async () => {
  const [first, second] = [
    event('a', { xid: 5, after: 10, lsn: 11, order: 1, own: 1 }),
    event('a', { xid: 5, after: 10, lsn: 12, order: 2, own: 2 }),
  ];
  const next = event('a', { xid: 6, after: 20, lsn: 21, order: 1, own: 1 });
  const ends = [end(5, 20, { a: 2 }), end(6, 30, { a: 1 })];
  expect(await merge(ends, { a: [first, BROKEN, next, first, second, second] })).toEqual([
    'a 5.1',
    'a left out',
    'a 6.1',
    'a 5.2',
  ]);
});
