import type pg from 'pg';
import { ConfigResourceTypes, type Admin } from 'kafkajs';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { appendRecord, readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { fetchBatches } from '#adapters/kafka/partition-reader.ts';
import { loadConfig } from '#core/config-load.ts';
import type { Config } from '#core/config.ts';
import { findGround, groundRecord } from '#core/ground.ts';
import { requireReadySource } from '../../services/producer/preflight.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { deleteTopic, emptyTopic, openAdmin } from '../harness/kafka-admin.ts';
import { startService } from '../harness/run-service.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

const quiet = pino({ level: 'silent' });
let admin: Admin & AsyncDisposable;
let named = 0;

beforeAll(async () => {
  admin = await openAdmin();
});

afterAll(async () => {
  await admin[Symbol.asyncDispose]();
});

/** A pipeline of its own: a database with two tables, and a target where one is asked for. */
interface Pipeline extends AsyncDisposable {
  readonly source: TestDatabase;
  readonly config: Config;
  readonly name: string;
  /** Its publication and its slot. */
  readonly own: string;
  sql(...statements: string[]): Promise<void>;
}

async function makePipeline(version: 15 | 18 = 15, target: TestDatabase | null = null, more = ''): Promise<Pipeline> {
  const source = await createDatabase(version, 'gaps');
  const name = `gaps${(named += 1)}-${source.name.replaceAll('_', '-').slice(-10)}`;
  const url = target?.url ?? 'postgresql://nobody@127.0.0.1:1/none';
  const text = `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, tables: ["public.*"], heartbeatMs: 1000 }
targets: [{ name: new, postgres: { url: "${url}" }, schema: create }]
${more}
`;
  const config = loadConfig(text, 'gaps.yaml', {});
  await source.client.query(`
    CREATE TABLE public.a (id int PRIMARY KEY, v text);
    CREATE TABLE public.b (id int PRIMARY KEY, v text);
    INSERT INTO public.a VALUES (1, 'x'); INSERT INTO public.b VALUES (1, 'x')`);
  const own = `restage_${name.replaceAll('-', '_')}`;
  return {
    source,
    config,
    name,
    own,
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
    sql: async (...statements) => {
      for (const statement of statements) await source.client.query(statement);
    },
  };
}

/** Loaded, and stopped in good order. */
async function live(pipeline: Pipeline): Promise<void> {
  await using producer = startService('producer', pipeline.config);
  await producer.streaming();
}

/** The fault is met at work, and again by a start, by its preflight too. */
async function meetsAtWork(
  pipeline: Pipeline,
  code: string,
  fault: () => Promise<void>,
  codes: readonly string[] = [code],
): Promise<void> {
  await using producer = startService('producer', pipeline.config);
  await producer.streaming();
  await fault();
  expect(codes).toContain(((await producer.end) as { code?: string } | null)?.code);
  const confirmed = await confirmedOf(pipeline);
  await meetsAtStart(pipeline, code);
  expect(await confirmedOf(pipeline)).toBe(confirmed);
}

async function confirmedOf({ source, own }: Pipeline): Promise<string | undefined> {
  const sql = 'SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = $1';
  return (await source.client.query<{ lsn: string }>(sql, [own])).rows[0]?.lsn;
}

async function meetsAtStart(pipeline: Pipeline, code: string): Promise<void> {
  await expect(requireReadySource(pipeline.config, quiet)).rejects.toMatchObject({ code });
  await using producer = startService('producer', pipeline.config);
  expect(await producer.end).toMatchObject({ code });
}

/** What is not named falls back to the broker's default. */
async function alterTopic(topic: string, settings: Readonly<Record<string, string>>): Promise<void> {
  const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }));
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries }],
  });
}

describe.concurrent('the publication', () => {
  const alterations: readonly (readonly [string, (own: string) => string[]])[] = [
    ['loses a table', (own) => [`ALTER PUBLICATION ${own} DROP TABLE public.a`]],
    [
      'loses it for a moment',
      (own) => [
        `ALTER PUBLICATION ${own} DROP TABLE public.a`,
        `INSERT INTO public.a VALUES (2, 'lost')`,
        `ALTER PUBLICATION ${own} ADD TABLE ONLY public.a`,
      ],
    ],
    ['gets a row filter', (own) => [`ALTER PUBLICATION ${own} SET TABLE ONLY public.a WHERE (id > 5), ONLY public.b`]],
    ['gets a list of columns', (own) => [`ALTER PUBLICATION ${own} SET TABLE ONLY public.a (id), ONLY public.b`]],
    ['publishes inserts only', (own) => [`ALTER PUBLICATION ${own} SET (publish = 'insert')`]],
    [
      'publishes by the root for a moment',
      (own) => [
        `ALTER PUBLICATION ${own} SET (publish_via_partition_root = true)`,
        `ALTER PUBLICATION ${own} SET (publish_via_partition_root = false)`,
      ],
    ],
    ['is dropped', (own) => [`DROP PUBLICATION ${own}`, `INSERT INTO public.a VALUES (3, 'lost')`]],
    [
      'is made again',
      (own) => [`DROP PUBLICATION ${own}`, `CREATE PUBLICATION ${own} FOR TABLE ONLY public.a, ONLY public.b`],
    ],
    [
      'has a table that is made again',
      (own) => [
        'DROP TABLE public.b',
        'CREATE TABLE public.b (id int PRIMARY KEY, v text)',
        `ALTER PUBLICATION ${own} ADD TABLE ONLY public.b`,
      ],
    ],
  ];

  test.each(alterations)('%s while the producer works', async (_what, statements) => {
    await using pipeline = await makePipeline();
    await meetsAtWork(pipeline, 'publication_altered', () => pipeline.sql(...statements(pipeline.own)));
  });

  test.each(alterations)('%s between two lives', async (_what, statements) => {
    await using pipeline = await makePipeline();
    await live(pipeline);
    await pipeline.sql(...statements(pipeline.own));
    await meetsAtStart(pipeline, 'publication_altered');
  });

  test('gets a table that nobody chose, VACUUM FULL and another replica identity: nothing of it matters', async () => {
    await using pipeline = await makePipeline();
    await live(pipeline);
    await pipeline.sql(
      'CREATE TABLE public.later (id int PRIMARY KEY)',
      `ALTER PUBLICATION ${pipeline.own} ADD TABLE ONLY public.later`,
      'VACUUM FULL pg_publication_rel',
      'VACUUM FREEZE pg_publication',
      'ALTER TABLE public.a REPLICA IDENTITY FULL',
      `UPDATE public.a SET v = 'y'`,
    );
    await live(pipeline);
  });
});

describe.concurrent('the slot', () => {
  /** Again and again, for the producer comes back at once. */
  async function whileFree({ source, own }: Pipeline, sql: string): Promise<void> {
    await until(
      async () => {
        await source.client.query(
          'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1',
          [own],
        );
        await grow(source.client);
        await source.client.query(sql, [own]);
        return true;
      },
      { what: `${sql} in between`, everyMs: 1 },
    );
  }
  const DROP = 'SELECT pg_drop_replication_slot($1)';
  /** WAL that is on disk: a slot is moved up to there, and no further. */
  async function grow(client: pg.ClientBase): Promise<void> {
    const { rows } = await client.query<{ lsn: string }>(
      `SELECT pg_logical_emit_message(true, 'x', repeat('x', 100000))::text AS lsn`,
    );
    const isFlushed = 'SELECT pg_current_wal_flush_lsn() >= $1::pg_lsn AS is';
    await until(async () => (await client.query<{ is: boolean }>(isFlushed, [rows[0]?.lsn])).rows[0]?.is, {
      what: 'the WAL to be on disk',
    });
  }
  const MOVE = 'SELECT pg_replication_slot_advance($1, pg_current_wal_flush_lsn())';

  test('is dropped under the producer', async () => {
    await using pipeline = await makePipeline();
    await meetsAtWork(pipeline, 'slot_missing', () => whileFree(pipeline, DROP));
  });

  test('is made again between two lives', async () => {
    await using pipeline = await makePipeline();
    await live(pipeline);
    await pipeline.source.client.query(DROP, [pipeline.own]);
    await pipeline.sql(`INSERT INTO public.a VALUES (9, 'lost')`);
    await pipeline.source.client.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [pipeline.own]);
    await meetsAtStart(pipeline, 'slot_ahead');
  });

  test('is moved under the producer, and between two lives', async () => {
    await using pipeline = await makePipeline();
    // Or it is seen while somebody else has it.
    await meetsAtWork(pipeline, 'slot_ahead', () => whileFree(pipeline, MOVE), ['slot_ahead', 'slot_foreign']);
    await using other = await makePipeline();
    await live(other);
    await grow(other.source.client);
    await other.source.client.query(MOVE, [other.own]);
    await meetsAtStart(other, 'slot_ahead');
  });
});

describe.concurrent('the topics', () => {
  const faults: readonly (readonly [string, string, (name: string) => Promise<void>])[] = [
    ['one of a table is deleted', 'history_lost', (name) => deleteTopic(admin, `${name}.public.a`)],
    ['one of a table is made again', 'history_lost', (name) => deleteTopic(admin, `${name}.public.a`, true)],
    ['manifests are deleted', 'history_lost', (name) => deleteTopic(admin, `${name}.epochs`)],
    ['manifests are made again', 'history_lost', (name) => deleteTopic(admin, `${name}.epochs`, true)],
    ['structures are deleted', 'history_lost', (name) => deleteTopic(admin, `${name}.schemas`)],
    [
      'one gets partitions',
      'topic_altered',
      async (name) => {
        await admin.createPartitions({ topicPartitions: [{ topic: `${name}.public.b`, count: 3 }] });
      },
    ],
    [
      'manifests are compacted',
      'topic_altered',
      (name) => alterTopic(`${name}.epochs`, { 'cleanup.policy': 'compact' }),
    ],
    ['manifests expire', 'topic_altered', (name) => alterTopic(`${name}.epochs`, { 'retention.ms': '86400000' })],
    ['structures expire', 'topic_altered', (name) => alterTopic(`${name}.schemas`, { 'cleanup.policy': 'delete' })],
  ];

  test.each(faults)('%s while the producer works', async (_what, code, fault) => {
    await using pipeline = await makePipeline();
    await meetsAtWork(pipeline, code, () => fault(pipeline.name));
  });

  test.each(faults)('%s between two lives', async (_what, code, fault) => {
    await using pipeline = await makePipeline();
    await live(pipeline);
    await fault(pipeline.name);
    await meetsAtStart(pipeline, code);
  });

  test('are copied to another cluster, or all of them are gone', async () => {
    await using pipeline = await makePipeline();
    await live(pipeline);
    const pool = createConnectionPool(pipeline.config.kafka, { clientId: 'gaps', logger: quiet });
    const topic = `${pipeline.name}.schemas`;
    const ground = findGround(await readCompacted(pool, topic));
    if (ground === null) throw new Error('the producer remembers nothing');
    const record = groundRecord({ ...ground, cluster: 'another' });
    await appendRecord(pool, topic, record.key, record.value);
    await pool.close();
    await meetsAtStart(pipeline, 'kafka_replaced');
    const topics = (await admin.listTopics()).filter((one) => one.startsWith(`${pipeline.name}.`));
    for (const one of topics) await deleteTopic(admin, one);
    await meetsAtStart(pipeline, 'slot_foreign');
  });
});

describe.concurrent('what a reader stands on', () => {
  /** Everything is at its target; `fault` then strikes at work, and between two lives of another sink. */
  async function meetsInSink(code: string, fault: (pipeline: Pipeline) => Promise<void>): Promise<void> {
    await using target = await createDatabase(15, 'gaps_target');
    await using pipeline = await makePipeline(15, target);
    {
      await using producer = startService('producer', pipeline.config);
      await producer.streaming();
      await using sink = startService('sink', pipeline.config, 'new');
      await sink.streaming();
      await sink.drain();
      await pipeline.sql(`INSERT INTO public.a VALUES (2, 'waits')`);
      const seen = producer.status;
      await until(() => seen.events.insert === 1 && seen.epochs === 1, { what: 'the event in Kafka' });
    }
    await fault(pipeline);
    await using sink = startService('sink', pipeline.config, 'new');
    expect(await sink.end).toMatchObject({ code });
    const rows = await target.client.query('SELECT FROM public.a');
    expect(rows.rowCount).toBe(1);
  }

  test('a topic that is made again', () =>
    meetsInSink('history_lost', ({ name }) => deleteTopic(admin, `${name}.public.a`, true)));

  test('records that were deleted before they were read', () =>
    meetsInSink('history_lost', ({ name }) => emptyTopic(admin, `${name}.public.a`)));

  test('manifests that were deleted before they were read', () =>
    meetsInSink('history_lost', ({ name }) => emptyTopic(admin, `${name}.epochs`)));

  test('manifests that were compacted for a while', () =>
    meetsInSink('history_lost', async ({ name, config }) => {
      const topic = `${name}.epochs`;
      const rolling = { 'cleanup.policy': 'compact', 'min.cleanable.dirty.ratio': '0.001', 'segment.ms': '50' };
      await alterTopic(topic, rolling);
      const pool = createConnectionPool(config.kafka, { clientId: 'gaps', logger: quiet });
      // The segment being written is never compacted: each of these rolls one.
      await until(
        async () => {
          await appendRecord(pool, topic, 'stream', null);
          const { batches } = await fetchBatches(
            pool,
            { topic, partition: 0, isolation: 'read_committed', channel: 'read', maxWaitMs: 0 },
            0n,
          );
          const records = batches.filter(({ isControl }) => !isControl).flatMap((batch) => batch.records());
          return !records.some(({ key, value }) => key?.toString() === 'stream' && value !== null);
        },
        { what: 'the manifest to be compacted away', timeoutMs: 60_000, everyMs: 200 },
      );
      await pool.close();
      await alterTopic(topic, { 'cleanup.policy': 'delete', 'retention.ms': '-1' });
    }));

  test('at work; offsets of its group do not matter', async () => {
    await using pipeline = await makePipeline(15, null, 'transform: { outputs: [{ name: main }] }');
    await using producer = startService('producer', pipeline.config);
    await producer.streaming();
    await using transformer = startService('transformer', pipeline.config, 'main');
    await transformer.streaming();
    const shaped = `${pipeline.name}.shaped.main.v1`;
    await transformer.drain();
    const groupId = `${pipeline.name}.transformer.main.v1`;
    await admin.setOffsets({
      groupId,
      topic: `${pipeline.name}.epochs`,
      partitions: [{ partition: 0, offset: '0' }],
    });
    await using again = startService('transformer', pipeline.config, 'main');
    await again.streaming();
    await pipeline.sql(`INSERT INTO public.a VALUES (2, 'y')`);
    await until(() => again.status.events.insert === 1, { what: 'the event to be passed on' });
    await deleteTopic(admin, `${shaped}.public.b`, true);
    expect(await again.end).toMatchObject({ code: 'history_lost' });
  });
});
