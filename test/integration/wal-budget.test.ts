import { isDeepStrictEqual } from 'node:util';
import { pino } from 'pino';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { readLastManifest } from '#adapters/kafka/last-manifest.ts';
import { producerLease } from '#core/session-names.ts';
import { loadConfig } from '#core/config-load.ts';
import type { Config } from '#core/config.ts';
import { requireReadySource } from '../../services/producer/preflight.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { startService } from '../harness/run-service.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

const MIB = 1024 * 1024;
let source: TestDatabase;

beforeAll(async () => {
  source = await createDatabase(15, 'budget');
  await source.client.query('CREATE TABLE public.t (id serial PRIMARY KEY); INSERT INTO public.t DEFAULT VALUES');
});

afterAll(async () => {
  await source[Symbol.asyncDispose]();
});

function configOf(kind: string, whenFull: string, target = 'postgresql://nobody@127.0.0.1:1/none'): Config {
  const text = `name: ${kind}-${source.name.slice(-10)}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, heartbeatMs: 500, walBudget: { bytes: ${20 * MIB}, whenFull: ${whenFull} } }
targets: [{ name: new, postgres: { url: "${target}" }, schema: create }]
`;
  return loadConfig(text, 'budget.yaml', {});
}

/** Keeps the slot where it is, as decoding needs the WAL of every transaction that is open. */
async function openTransaction(): Promise<pg.Client> {
  const holder = new pg.Client({ connectionString: source.url });
  await holder.connect();
  await holder.query('BEGIN; INSERT INTO public.t DEFAULT VALUES');
  return holder;
}

async function writeWal(mebibytes: number): Promise<void> {
  await source.client.query(
    `SELECT pg_logical_emit_message(false, 'x', repeat('x', 1048576)) FROM generate_series(1, $1)`,
    [mebibytes],
  );
}

test('above its budget the alarm is given once, and taken back once; the pipeline goes on', async () => {
  const config = configOf('wait', 'wait');
  const lines: { msg: string; state?: string }[] = [];
  const logger = pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as { msg: string }) });
  const alarms = (): string[] =>
    lines.map(({ msg }) => msg).filter((msg) => msg.includes('budget') || msg.includes('walBudget'));
  await using producer = startService('producer', config, '', logger);
  await producer.streaming();
  const { status } = producer;
  await until(() => status.wal?.state === 'within', { what: 'the slot looked at' });
  const holder = await openTransaction();
  await writeWal(30);
  await until(() => status.wal?.state === 'above', { what: 'the alarm' });
  expect(status.wal).toMatchObject({ budgetBytes: 20 * MIB, safeBytes: null, secondsUntilFull: 0 });
  expect(status.retainedWalBytes).toBeGreaterThan(30 * MIB);
  expect(status.wal?.bytesPerSecond).toBeGreaterThan(0);
  await writeWal(1);
  await holder.query('COMMIT');
  await holder.end();
  // The slot moves on once the server has logged that the transaction is over.
  await until(
    async () => {
      await source.client.query('SELECT pg_log_standby_snapshot()').catch(() => source.client.query('CHECKPOINT'));
      return status.wal?.state === 'within';
    },
    { what: 'the end of the alarm', everyMs: 300 },
  );
  expect(alarms()).toEqual([
    'the slot keeps more WAL than source.walBudget.bytes',
    'the slot is within its WAL budget again',
  ]);
  expect(status.state).toBe('streaming');
});

test('the slot is given up, which its history says; the next start makes a new one and loads every table anew', async () => {
  await using target = await createDatabase(15, 'budget_target');
  const config = configOf('give', 'release', target.url);
  const quiet = pino({ level: 'silent' });
  const slot = config.source.slot;
  const isThere = async (): Promise<boolean> =>
    (await source.client.query('SELECT FROM pg_replication_slots WHERE slot_name = $1', [slot])).rowCount === 1;
  {
    await using producer = startService('producer', config);
    await producer.streaming();
    await using sink = startService('sink', config, 'new');
    await until(() => sink.status.load.isDone, { what: 'the load done' });
    expect(await isThere()).toBe(true);
    const holder = await openTransaction();
    await writeWal(30);
    expect(await producer.end).toMatchObject({ code: 'slot_released' });
    await holder.query('COMMIT');
    await holder.end();
  }
  expect(await isThere()).toBe(false);
  const pool = createConnectionPool(config.kafka, { clientId: 'budget', logger: quiet });
  expect((await readLastManifest(pool, config.name))?.manifest).toMatchObject({ kind: 'empty', released: true });
  await pool.close();
  // None of it is in the stream of either slot.
  await source.client.query(
    'INSERT INTO public.t SELECT FROM generate_series(1, 50); DELETE FROM public.t WHERE id = 1',
  );
  // As if the first one had been killed before it dropped the slot, with another that holds its lease.
  await source.client.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [slot]);
  await writeWal(30);
  const lease = [`restage:${producerLease(config.name)}`];
  await source.client.query('SELECT pg_advisory_lock(hashtextextended($1, 0))', lease);

  await requireReadySource(config, quiet);
  await using producer = startService('producer', config);
  await until(() => producer.status.state === 'standby', { what: 'the producer waiting' });
  expect(producer.status.wal).toBeNull();
  await source.client.query('SELECT pg_advisory_unlock(hashtextextended($1, 0))', lease);
  await using sink = startService('sink', config, 'new');
  await Promise.all([producer.streaming(), sink.streaming()]);
  await source.client.query('INSERT INTO public.t DEFAULT VALUES');
  const rows = async ({ client }: TestDatabase): Promise<unknown[]> =>
    (await client.query('SELECT * FROM public.t ORDER BY 1')).rows;
  await until(async () => isDeepStrictEqual(await rows(target), await rows(source)), {
    what: 'the rows at the target',
  });
  expect(await isThere()).toBe(true);
});

test('given up in the middle of the initial load, the next start takes all tables anew, those that were done too', async () => {
  await using target = await createDatabase(15, 'budget_target');
  await source.client.query(`
    CREATE TABLE public.u (id int PRIMARY KEY); INSERT INTO public.u SELECT generate_series(1, 200000);
    CREATE TABLE public.z (id int PRIMARY KEY); INSERT INTO public.z VALUES (1)`);
  const whole = configOf('half', 'release', target.url);
  const config = { ...whole, source: { ...whole.source, snapshotWorkers: 1 } };
  const bar = new pg.Client({ connectionString: source.url });
  await bar.connect();
  const rows = async ({ client }: TestDatabase): Promise<unknown[]> =>
    (
      await client.query(
        `SELECT 'u', count(*), sum(id) FROM public.u UNION ALL SELECT 'z', count(*), sum(id) FROM public.z`,
      )
    ).rows;
  await using sink = startService('sink', config, 'new');
  {
    await using producer = startService('producer', config);
    // While the tables before it are read: the slot would wait for a lock that is there before.
    await until(() => producer.status.load.chunks > 0, { what: 'a plan', everyMs: 2 });
    await bar.query('BEGIN; LOCK TABLE public.z');
    await until(() => sink.status.load.tablesDone >= 2, { what: 'tables at the target' });
    expect(producer.status.load.isDone).toBe(false);
    const holder = await openTransaction();
    await writeWal(30);
    expect(await producer.end).toMatchObject({ code: 'slot_released' });
    await holder.query('COMMIT');
    await holder.end();
  }
  expect(sink.status.load.isDone).toBe(false);
  await bar.query('ROLLBACK');
  await bar.end();
  await source.client.query('DELETE FROM public.u WHERE id % 2 = 0; INSERT INTO public.z VALUES (2)');
  await requireReadySource(config, pino({ level: 'silent' }));
  await using producer = startService('producer', config);
  await Promise.all([producer.streaming(), sink.streaming()]);
  await source.client.query('DELETE FROM public.u WHERE id < 100; DELETE FROM public.z WHERE id = 1');
  await until(async () => isDeepStrictEqual(await rows(target), await rows(source)), {
    what: 'the rows at the target',
  });
});

test('given up while a table is loaded late, the next start loads every table anew with it', async () => {
  await using target = await createDatabase(15, 'budget_target');
  const config = configOf('late', 'release', target.url);
  const rows = async ({ client }: TestDatabase): Promise<unknown[]> =>
    (await client.query('SELECT * FROM public.t UNION ALL SELECT id FROM public.late ORDER BY 1')).rows;
  await using sink = startService('sink', config, 'new');
  {
    await using producer = startService('producer', config);
    await producer.streaming();
    await until(() => sink.status.load.isDone, { what: 'the load done' });
    // The snapshot waits for it.
    const holder = await openTransaction();
    await source.client.query('CREATE TABLE public.late (id int PRIMARY KEY); INSERT INTO public.late VALUES (-1)');
    await until(() => !producer.status.load.isDone, { what: 'a late load' });
    await writeWal(30);
    expect(await producer.end).toMatchObject({ code: 'slot_released' });
    await holder.query('COMMIT');
    await holder.end();
  }
  // None of it is in the stream of either slot.
  await source.client.query(
    'INSERT INTO public.t SELECT FROM generate_series(1, 50); DELETE FROM public.t WHERE id % 3 = 0',
  );
  await requireReadySource(config, pino({ level: 'silent' }));
  await using producer = startService('producer', config);
  await Promise.all([producer.streaming(), sink.streaming()]);
  await source.client.query('INSERT INTO public.t DEFAULT VALUES; INSERT INTO public.late VALUES (-2)');
  await until(async () => isDeepStrictEqual(await rows(target), await rows(source)), {
    what: 'the rows at the target',
  });
});

test('the source does not wait for a Kafka that is away', async () => {
  const config = configOf('away', 'release');
  {
    await using producer = startService('producer', config);
    await producer.streaming();
  }
  const holder = await openTransaction();
  await writeWal(30);
  const away = { ...config, kafka: { ...config.kafka, brokers: ['127.0.0.1:1'] } };
  await using producer = startService('producer', away);
  expect(await producer.end).toMatchObject({ code: 'slot_released' });
  await holder.end();
  const sql = 'SELECT FROM pg_replication_slots WHERE slot_name = $1';
  expect((await source.client.query(sql, [config.source.slot])).rowCount).toBe(0);
  await using again = startService('producer', config);
  expect(await again.end).toMatchObject({ code: 'slot_missing' });
});
