import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { connectPg } from '#adapters/postgres/session.ts';
import { chunkSql, READER_SETTINGS } from '#adapters/postgres/source/snapshot-reader.ts';
import { Infrastructure } from '#infra/infrastructure.ts';
import { someOf } from '../harness/chaos/long-run.ts';
import { startCli } from '../harness/cli.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { connect, createDatabase } from '../harness/database.ts';
import { readLoad } from '../harness/load-history.ts';
import { waitForTarget } from '../harness/pipeline-run.ts';
import { testKafka } from '../harness/servers.ts';
import { awaitStandby, untilUnseen, waitingCommit } from '../harness/synchronous-standby.ts';
import { until } from '../harness/until.ts';

let folder: string;

/** Many starts of services, each of which may wait for a lease. */
vi.setConfig({ testTimeout: 240_000 });

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'restage-seams-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** In the order of their names: while `b` fills the queue, one worker has not come to those after it. */
const SEAMS_SQL = `
  CREATE TABLE public.a (id int PRIMARY KEY);
  INSERT INTO public.a VALUES (1);
  CREATE TABLE public.b (id int PRIMARY KEY, pad text);
  INSERT INTO public.b SELECT n, repeat('b', 200) FROM generate_series(1, 40000) n;
  CREATE TABLE public.c_added (id int PRIMARY KEY, n int);
  CREATE TABLE public.c_clustered (id int PRIMARY KEY, n int);
  CREATE TABLE public.c_full (id int PRIMARY KEY, n int);
  CREATE TABLE public.c_keyless (n int);
  ALTER TABLE public.c_keyless REPLICA IDENTITY FULL;
  CREATE TABLE public.c_moved (id int PRIMARY KEY, n int, pad text) WITH (fillfactor = 20);
  CREATE TABLE public.c_toasted (id int PRIMARY KEY, n int, body text);
  ALTER TABLE public.c_toasted ALTER COLUMN body SET STORAGE EXTERNAL;
  CREATE TABLE public.c_truncated (id int PRIMARY KEY, n int);
  INSERT INTO public.c_added SELECT n, 0 FROM generate_series(1, 500) n;
  INSERT INTO public.c_clustered SELECT n, 0 FROM generate_series(500, 1, -1) n;
  INSERT INTO public.c_full SELECT n, 0 FROM generate_series(1, 500) n;
  INSERT INTO public.c_keyless SELECT n % 100 FROM generate_series(1, 500) n;
  INSERT INTO public.c_moved SELECT n, 0, repeat('m', 100) FROM generate_series(1, 2000) n;
  INSERT INTO public.c_toasted SELECT n, 0, repeat(md5(n::text), 200) FROM generate_series(1, 200) n;
  INSERT INTO public.c_truncated SELECT n, 0 FROM generate_series(1, 500) n`;

/** Each a transaction of its own, after the snapshot and before the load comes to the table. */
const BETWEEN = [
  `UPDATE public.c_moved SET n = n + 1, pad = repeat('n', 300)`,
  'UPDATE public.c_moved SET id = id + 10000 WHERE id % 3 = 0',
  'DELETE FROM public.c_moved WHERE id % 5 = 0',
  'INSERT INTO public.c_moved SELECT n, 7 FROM generate_series(1, 2000) n ON CONFLICT DO NOTHING',
  'VACUUM public.c_moved',
  'UPDATE public.c_toasted SET n = 1 WHERE id % 2 = 0',
  'UPDATE public.c_toasted SET id = id + 1000 WHERE id % 4 = 0',
  `UPDATE public.c_toasted SET body = 'short' WHERE id % 9 = 0`,
  `BEGIN; INSERT INTO public.c_toasted VALUES (0, 0, repeat(md5('0'), 200)); UPDATE public.c_toasted SET n = 2 WHERE id = 0; COMMIT`,
  'TRUNCATE public.c_truncated',
  'INSERT INTO public.c_truncated SELECT n, 1 FROM generate_series(400, 600) n',
  'DELETE FROM public.c_full WHERE id % 2 = 0',
  'VACUUM FULL public.c_full',
  'UPDATE public.c_full SET n = 1 WHERE id % 3 = 0',
  'CLUSTER public.c_clustered USING c_clustered_pkey',
  'UPDATE public.c_clustered SET n = 1 WHERE id < 100',
  'UPDATE public.c_keyless SET n = n + 1 WHERE n < 10',
  'DELETE FROM public.c_keyless WHERE ctid IN (SELECT ctid FROM public.c_keyless WHERE n = 50 LIMIT 2)',
  'ALTER TABLE public.c_added ADD COLUMN more int DEFAULT 5',
  'UPDATE public.c_added SET more = 6 WHERE id < 100',
];

test.each(someOf([18, 15] as const, 1))(
  'what happens to tables between the snapshot and the load of them arrives once: PostgreSQL %i',
  async (version) => {
    await using source = await createDatabase(version, 'seams_source');
    await using target = await createDatabase(15, 'seams_target');
    await source.client.query(SEAMS_SQL);
    const config = await writeConfig(source.name, source.url, target.url);
    const armed = { RESTAGE_FAILPOINTS: 'producer.chunk.after=stop:1' };
    await using producer = startCli(['producer', '-c', config], armed);
    await using sink = startCli(['sink', '-c', config, '--target', 'new']);
    await producer.stopped(/chunk.after/);
    for (const statement of BETWEEN) await source.client.query(statement);
    producer.kill('SIGCONT');
    await waitForTarget(config, sink);
    expect(await findDifferences(source.url, target.url), producer.stderr()).toEqual([]);
    const { plans } = await readLoad(source.name.replaceAll('_', '-'), ['a']);
    expect(plans.at(-1)).toEqual(['c_clustered', 'c_full', 'c_truncated']);
  },
);

test('a table that is dropped before the load comes to it ends without rows, whatever the stream has of it', async () => {
  await using source = await createDatabase(15, 'drop_source');
  await using target = await createDatabase(15, 'drop_target');
  await source.client.query(SEAMS_SQL);
  const config = await writeConfig(source.name, source.url, target.url);
  const armed = { RESTAGE_FAILPOINTS: 'producer.chunk.after=stop:1' };
  await using producer = startCli(['producer', '-c', config], armed);
  await using sink = startCli(['sink', '-c', config, '--target', 'new']);
  await producer.stopped(/chunk.after/);
  await source.client.query('UPDATE public.c_added SET n = 1 WHERE id < 100');
  await source.client.query('DROP TABLE public.c_added');
  producer.kill('SIGCONT');
  await waitForTarget(config, sink);
  expect(await findDifferences(source.url, target.url), producer.stderr()).toEqual([]);
});

test('tables that come, go and come again between the publication and the slot lose none of their changes', async () => {
  await using source = await createDatabase(15, 'slot_source');
  await using target = await createDatabase(15, 'slot_target');
  await source.client.query(
    'CREATE TABLE public.kept (id int PRIMARY KEY); CREATE TABLE public.again (id int PRIMARY KEY)',
  );
  const config = await writeConfig(source.name, source.url, target.url);
  const armed = { RESTAGE_FAILPOINTS: 'producer.publication.after=stop' };
  await using producer = startCli(['producer', '-c', config], armed);
  await using sink = startCli(['sink', '-c', config, '--target', 'new']);
  await producer.stopped(/publication.after/);
  await source.client.query(`
    CREATE TABLE public.later (id int PRIMARY KEY); INSERT INTO public.later VALUES (1);
    DROP TABLE public.again; CREATE TABLE public.again (id int PRIMARY KEY); INSERT INTO public.again VALUES (1)`);
  producer.kill('SIGCONT');
  await waitForTarget(config, sink);
  for (const table of ['kept', 'again', 'later']) await source.client.query(`INSERT INTO public.${table} VALUES (2)`);
  await until(async () => (await findDifferences(source.url, target.url)).length === 0, {
    what: 'the tables that came later',
    timeoutMs: 60_000,
  });
});

test('transactions that are open, prepared or not yet visible when the slot is made arrive once', async () => {
  await using target = await createDatabase(15, 'open_target');
  const infrastructure = await Infrastructure.open({ say: () => undefined, durable: false });
  const sessions: pg.Client[] = [];
  const open = async (url: string): Promise<pg.Client> => {
    const client = await connect(url);
    sessions.push(client);
    return client;
  };
  try {
    const settings = { max_prepared_transactions: '5', synchronous_commit: 'local' };
    const { url } = await infrastructure.startPostgres({ name: 'seams', from: 'machine', settings });
    const [admin, first, second, third] = [await open(url), await open(url), await open(url), await open(url)];
    await admin.query(`CREATE TABLE public.item (id int PRIMARY KEY, n int);
      INSERT INTO public.item SELECT n, 0 FROM generate_series(1, 1000) n`);
    await first.query('BEGIN; INSERT INTO public.item VALUES (2001, 0); UPDATE public.item SET n = 1 WHERE id = 1');
    await second.query('BEGIN; INSERT INTO public.item VALUES (2002, 0); UPDATE public.item SET n = 2 WHERE id = 2');
    await second.query(`PREPARE TRANSACTION 'before'`);
    await awaitStandby(url, 'nobody');
    const unseen = waitingCommit(third, 'INSERT INTO public.item VALUES (2003, 0)');
    await untilUnseen(admin);

    const config = await writeConfig(`open_${target.name}`, url, target.url);
    await using producer = startCli(['producer', '-c', config]);
    await using sink = startCli(['sink', '-c', config, '--target', 'new']);
    const isMade = `SELECT FROM pg_replication_slots WHERE confirmed_flush_lsn IS NOT NULL`;
    const isWaiting = `SELECT FROM pg_stat_activity WHERE query ~ 'CREATE_REPLICATION_SLOT' AND wait_event_type = 'Lock'`;
    for (const go of [
      () => first.query('COMMIT'),
      () => admin.query(`COMMIT PREPARED 'before'`),
      async () => {
        await awaitStandby(url, '');
        await unseen;
      },
    ]) {
      await until(async () => (await admin.query(isWaiting)).rowCount === 1, { what: 'the slot to wait' });
      expect((await admin.query(isMade)).rowCount).toBe(0);
      await go();
    }
    await until(async () => (await admin.query(isMade)).rowCount === 1, { what: 'the slot to be made' });

    await first.query(`BEGIN; UPDATE public.item SET n = 3 WHERE id = 3; PREPARE TRANSACTION 'after'`);
    await awaitStandby(url, 'nobody');
    const later = waitingCommit(third, 'INSERT INTO public.item VALUES (2004, 0)');
    await untilUnseen(admin);
    await admin.query(`COMMIT PREPARED 'after'`);
    await awaitStandby(url, '');
    await later;
    await waitForTarget(config, sink);
    expect(await findDifferences(url, target.url), producer.stderr()).toEqual([]);
    const { rows } = await target.client.query('SELECT id FROM public.item WHERE id > 2000 ORDER BY id');
    expect(rows).toEqual([{ id: 2001 }, { id: 2002 }, { id: 2003 }, { id: 2004 }]);
  } finally {
    await Promise.all(sessions.map((session) => session.end().catch(() => undefined)));
    await infrastructure.stop();
  }
});

test.each([15, 18] as const)('chunks are read by a scan of a range of TIDs: PostgreSQL %i', async (version) => {
  await using source = await createDatabase(version, 'scan');
  await source.client.query(`
    CREATE TABLE public.heap (id int PRIMARY KEY, n int); INSERT INTO public.heap SELECT n, n FROM generate_series(1, 5000) n;
    CREATE INDEX ON public.heap (id) INCLUDE (n); ANALYZE public.heap`);
  const client = await connectPg({
    url: source.url,
    purpose: 'source',
    application: 'test',
    settings: READER_SETTINGS,
  });
  try {
    for (const range of [
      { partition: null, pages: 2048, index: 0, isLast: true, skip: 0 },
      { partition: null, pages: 4, index: 1, isLast: false, skip: 100 },
    ]) {
      const sql = chunkSql({ schema: 'public', table: 'heap' }, ['id', 'n'], range);
      const { rows } = await client.query<{ 'QUERY PLAN': string }>(`EXPLAIN ${sql}`);
      const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
      expect(plan).toMatch(/^(Limit.*\n\s+->\s+)?Tid Range Scan on heap/);
    }
  } finally {
    await client.end();
  }
});

async function writeConfig(database: string, source: string, target: string): Promise<string> {
  const name = database.replaceAll('_', '-').slice(0, 40);
  const file = path.join(folder, `${name}.yaml`);
  await writeFile(
    file,
    `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source}" }, snapshotWorkers: 1 }
targets: [{ name: new, postgres: { url: "${target}" }, schema: create }]
epoch: { partBytes: 1000000 }
`,
  );
  return file;
}
