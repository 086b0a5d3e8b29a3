import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { createConnectionPool, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { readLastManifest } from '#adapters/kafka/last-manifest.ts';
import { startCli, type CliProcess } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';
import { readTopics, type ReadRecord } from '../harness/topic-records.ts';
import { until } from '../harness/until.ts';

interface Event {
  readonly op: string;
  readonly before: Row | null;
  readonly after: Row | null;
  readonly transaction: { readonly id: string; readonly total_order: number } | null;
}

interface Row {
  readonly id: number;
  readonly n: number;
}

interface Boundary {
  readonly status: 'BEGIN' | 'END';
  readonly id: string;
  readonly event_count: number | null;
}

const ROWS = 20_000;
const LAST_ID = 999_999;

test.each([
  ['the load goes on under its snapshot', true],
  ['the snapshot is lost', false],
])(
  'through kills in the load and inside a transaction (%s), a reader that keeps the last event of each key ends right',
  async (_what, isKept) => {
    await using source = await createDatabase(15, 'debezium_kill');
    await source.client.query(
      `CREATE TABLE item (id int4 PRIMARY KEY, n int4); INSERT INTO item SELECT n, 0 FROM generate_series(1, ${ROWS}) n`,
    );
    const name = source.name;
    const kafka = createConnectionPool(
      { brokers: [testKafka()], ssl: false, sasl: null, replicationFactor: 1 },
      { clientId: 'debezium test', logger: pino({ level: 'silent' }) },
    );
    const dir = await mkdtemp(path.join(tmpdir(), 'restage-debezium-'));
    try {
      const file = path.join(dir, 'restage.yaml');
      await writeFile(file, configText(name, source));
      await killWhen(startProducer(file), () => isInLoad(kafka, name));
      if (!isKept)
        await source.client.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name ~ ' keeper$'`,
          [source.name],
        );
      // Gone before a second snapshot, and there in what was written of the first.
      await source.client.query('DELETE FROM item WHERE id <= 5; UPDATE item SET n = 1 WHERE id BETWEEN 6 AND 10');
      const loading = startProducer(file);
      await until(async () => (await readLastManifest(kafka, name))?.manifest.loaded === true, {
        what: 'the load to end',
      });
      await source.client.query(
        `BEGIN; UPDATE item SET n = n + 10; UPDATE item SET id = id + 100000 WHERE id % 1000 = 0; DELETE FROM item WHERE id % 3 = 0; COMMIT`,
      );
      await killWhen(loading, () => isInsideTransaction(kafka, name));
      await using lastLife = startProducer(file);
      await source.client.query(`INSERT INTO item VALUES (${LAST_ID}, 0)`);
      let left = 3;
      let isThere = false;
      const records = await readTopics(
        [`${name}.public.item`, `${name}.transaction`, `__debezium-heartbeat.${name}`],
        (_all, newest) => {
          isThere ||= isLast(newest);
          left -= isEnd(newest) ? 1 : 0;
          return isThere && left <= 0;
        },
        60_000,
      );
      const events = eventsOf(records, `${name}.public.item`);
      const { rows } = await source.client.query<Row>('SELECT id, n FROM item ORDER BY id');
      expect(replay(events)).toEqual(rows);
      expect(lastLife.hasEnded()).toBe(false);
      const firstStreamed = events.findIndex(({ op }) => op !== 'r');
      expect(events.slice(firstStreamed).filter(({ op }) => op === 'r')).toEqual([]);
      expectTransactions(events, boundariesOf(records, `${name}.transaction`));
      expect(records.some((one) => one.topic.startsWith('__debezium-heartbeat.'))).toBe(true);
      expect(lastLife.hasEnded()).toBe(false);
    } finally {
      await Promise.all([kafka.close(), rm(dir, { recursive: true })]);
    }
  },
);

function configText(name: string, source: TestDatabase): string {
  return `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { profile: debezium, postgres: { url: "${source.url}" }, tables: ["public.*"] }
debezium: { schemas.enable: false, provide.transaction.metadata: true, heartbeat.interval.ms: 200 }
epoch: { partBytes: 500000 }
`;
}

function startProducer(file: string): CliProcess {
  return startCli(['producer', '-c', file]);
}

async function killWhen(producer: CliProcess, condition: () => Promise<boolean>): Promise<void> {
  await until(condition, { what: 'the moment to kill the producer', everyMs: 5 });
  producer.kill('SIGKILL');
  await producer.result();
}

/** Parts of the chunk are written, its last is not. */
async function isInLoad(kafka: ConnectionPool, name: string): Promise<boolean> {
  const last = (await readLastManifest(kafka, name))?.manifest;
  return last?.kind === 'chunk' && !last.last;
}

async function isInsideTransaction(kafka: ConnectionPool, name: string): Promise<boolean> {
  const last = (await readLastManifest(kafka, name))?.manifest;
  return last?.kind === 'stream' && !last.last && last.part > 2;
}

function eventsOf(records: readonly ReadRecord[], topic: string): Event[] {
  return records.flatMap((one) =>
    one.topic === topic && one.value !== null ? [JSON.parse(one.value.toString()) as Event] : [],
  );
}

function boundariesOf(records: readonly ReadRecord[], topic: string): Boundary[] {
  return records.flatMap((one) =>
    one.topic === topic && one.value !== null ? [JSON.parse(one.value.toString()) as Boundary] : [],
  );
}

function isEnd(record: ReadRecord): boolean {
  return record.topic.endsWith('.transaction') && record.value?.includes('"END"') === true;
}

function isLast(record: ReadRecord): boolean {
  return record.value?.includes(`"after":{"id":${LAST_ID},`) === true;
}

function replay(events: readonly Event[]): Row[] {
  const rows = new Map<number, Row>();
  for (const { before, after } of events) {
    if (after !== null) rows.set(after.id, after);
    else if (before !== null) rows.delete(before.id);
  }
  return [...rows.values()].toSorted((a, b) => a.id - b.id);
}

/** Each transaction begins and ends once, and its events are numbered without a gap: nothing came twice, nothing is missing. */
function expectTransactions(events: readonly Event[], boundaries: readonly Boundary[]): void {
  const orders = new Map<string, number[]>();
  for (const { transaction } of events) {
    if (transaction === null) continue;
    const xid = xidOf(transaction.id);
    const order = orders.get(xid);
    if (order === undefined) orders.set(xid, [transaction.total_order]);
    else order.push(transaction.total_order);
  }
  const begun = boundaries.filter(({ status }) => status === 'BEGIN').map(({ id }) => xidOf(id));
  const ended = new Map(
    boundaries.flatMap(({ status, id, event_count: count }) => (status === 'END' ? [[xidOf(id), count]] : [])) as [
      string,
      number,
    ][],
  );
  expect(begun.toSorted()).toEqual([...orders.keys()].toSorted());
  for (const [xid, order] of orders) {
    expect(order, `transaction ${xid}`).toEqual(order.map((_, index) => index + 1));
    expect(ended.get(xid)).toBe(order.length);
  }
  expect(boundaries.filter(({ status }) => status === 'END')).toHaveLength(ended.size);
}

function xidOf(id: string): string {
  return id.split(':')[0] ?? '';
}
