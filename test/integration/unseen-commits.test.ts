import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { Infrastructure } from '#infra/infrastructure.ts';
import { startCli } from '../harness/cli.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { connect, createDatabase, type TestDatabase } from '../harness/database.ts';
import { waitForTarget } from '../harness/pipeline-run.ts';
import { testKafka } from '../harness/servers.ts';
import { awaitStandby, untilUnseen, waitingCommit } from '../harness/synchronous-standby.ts';
import { until } from '../harness/until.ts';

vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 });

const infrastructure = await Infrastructure.open({ say: () => undefined, durable: false });
const clients: pg.Client[] = [];
let url: string;
let target: TestDatabase;
let folder: string;
let config: string;
/** Commits of these are seen at once, of `altering` when the stand-by is no longer waited for. */
let admin: pg.Client;
let altering: pg.Client;

async function open(): Promise<pg.Client> {
  const client = await connect(url);
  clients.push(client);
  return client;
}

beforeAll(async () => {
  target = await createDatabase(15, 'unseen_target');
  const settings = { synchronous_commit: 'local' };
  ({ url } = await infrastructure.startPostgres({ name: 'unseen', from: 'machine', settings }));
  admin = await open();
  altering = await open();
  await admin.query(`
    CREATE TABLE public.item (id int PRIMARY KEY, n int);
    CREATE TABLE public.other (id serial PRIMARY KEY);
    CREATE TABLE public.keyed (id int PRIMARY KEY, n int);
    INSERT INTO public.item SELECT n, 0 FROM generate_series(1, 20) n;
    INSERT INTO public.keyed SELECT n, 0 FROM generate_series(1, 20) n`);
  folder = await mkdtemp(path.join(tmpdir(), 'restage-unseen-'));
  config = path.join(folder, 'restage.yaml');
  await writeFile(
    config,
    `name: unseen-${target.name.slice(-10)}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${url}" } }
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: create }]
`,
  );
});

afterAll(async () => {
  await Promise.all(clients.map((client) => client.end().catch(() => undefined)));
  await infrastructure.stop();
  await target[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** Until the producer has been sent whatever was committed so far, seen or not. */
async function untilSent(): Promise<void> {
  const { rows } = await admin.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn() AS lsn');
  await until(
    async () => {
      const sent = 'SELECT FROM pg_stat_replication WHERE sent_lsn >= $1::pg_lsn';
      return (await admin.query(sent, [rows[0]?.lsn])).rowCount === 1;
    },
    { what: 'the stream to be sent' },
  );
}

/** Commits that, and returns once the producer has it and nobody else sees it; `seen` ends that. */
async function commitUnseen(sql: string): Promise<{ readonly seen: () => Promise<void> }> {
  await awaitStandby(url, 'nobody');
  const commit = waitingCommit(altering, sql);
  commit.catch(() => undefined);
  await untilUnseen(admin);
  // What was altered is locked until it is seen.
  await admin.query('INSERT INTO public.other DEFAULT VALUES');
  await untilSent();
  return {
    seen: async () => {
      await awaitStandby(url, '');
      await commit;
    },
  };
}

test('what a transaction altered is read from the catalog once that shows it, also when the producer is stopped meanwhile', async () => {
  await using producer = startCli(['producer', '-c', config]);
  await using sink = startCli(['sink', '-c', config, '--target', 'new']);
  await waitForTarget(config, sink);

  const first = await commitUnseen(`
    ALTER TABLE public.item ADD COLUMN extra int DEFAULT 7; UPDATE public.item SET extra = 8 WHERE id = 1;
    ALTER TABLE public.keyed DROP CONSTRAINT keyed_pkey; ALTER TABLE public.keyed REPLICA IDENTITY FULL;
    UPDATE public.keyed SET n = 4 WHERE id = 1; DELETE FROM public.keyed WHERE id = 2`);
  expect(producer.hasEnded(), producer.stderr()).toBe(false);
  await first.seen();
  await waitForTarget(config, sink);
  expect(await findDifferences(url, target.url), producer.stderr()).toEqual([]);
  const { rows } = await target.client.query('SELECT DISTINCT extra FROM public.item ORDER BY 1');
  expect(rows).toEqual([{ extra: 7 }, { extra: 8 }]);

  const second = await commitUnseen(
    `ALTER TABLE public.item ADD COLUMN more text DEFAULT 'x'; UPDATE public.item SET more = 'y' WHERE id = 1`,
  );
  expect(await producer.drain(), producer.stderr()).toMatchObject({ code: 0 });
  await second.seen();
  await using again = startCli(['producer', '-c', config]);
  await waitForTarget(config, sink);
  expect(await findDifferences(url, target.url), again.stderr()).toEqual([]);
});
