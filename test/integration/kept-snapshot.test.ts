import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { connectPg } from '#adapters/postgres/session.ts';
import { isStillKept, keepSnapshot } from '#adapters/postgres/source/kept-snapshot.ts';
import { Infrastructure } from '#infra/infrastructure.ts';
import { askVersion } from '#infra/providers/postgres-process.ts';
import { isLongRun } from '../harness/chaos/long-run.ts';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { readLoad, type LoadHistory } from '../harness/load-history.ts';
import { keepersOf, signalProcess } from '../harness/service-processes.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

/** One row a page, so that few rows are several chunks of 16 MB. */
const WIDE_ROWS = 8_000;
const TABLES = ['first', 'wide', 'zero'];
const TABLES_SQL = `
  CREATE TABLE public.first (id int PRIMARY KEY, n int);
  INSERT INTO public.first SELECT n, 0 FROM generate_series(1, 100) n;
  CREATE TABLE public.wide (id int PRIMARY KEY, n int, pad text) WITH (fillfactor = 10);
  INSERT INTO public.wide SELECT n, 0, repeat('x', 500) FROM generate_series(1, ${WIDE_ROWS}) n;
  CREATE TABLE public.zero (id int PRIMARY KEY, n int);
  INSERT INTO public.zero SELECT n, 0 FROM generate_series(1, 100) n`;

let source: TestDatabase;
let target: TestDatabase;
let folder: string;
/** Of the source that the configuration names. */
let sourceUrl: string;
let config: string;
let name: string;

/** Many starts of services, each of which may wait for a lease. */
vi.setConfig({ testTimeout: 240_000 });

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'restage-kept-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  source = await createDatabase(15, 'kept_source');
  target = await createDatabase(15, 'kept_target');
  await source.client.query(TABLES_SQL);
  name = source.name.replaceAll('_', '-');
  sourceUrl = source.url;
  config = await writeConfig('');
  return async () => {
    await source[Symbol.asyncDispose]();
    await target[Symbol.asyncDispose]();
    // With their sessions in the database that is gone.
    await until(async () => (await keepersOf(config)).length === 0, { what: 'keepers to end' });
  };
});

test('killed twice in the load, the producer goes on with what is missing, under the same snapshot', async () => {
  config = await writeConfig('', 3);
  await killedAt('producer.chunk.after=kill:12');
  expect(await keepersOf(config)).toHaveLength(1);
  await moveRows();
  await killedAt('producer.chunk.data=kill:10');
  await moveRows();
  expect(await keepersOf(config)).toHaveLength(1);
  const load = await loadToEnd(/the load goes on under its snapshot/);
  expect(load.plans).toEqual([TABLES]);
  expectOnce(load);
});

test('a keeper that is killed takes the snapshot with it: what is not finished is taken again, and no more', async () => {
  await killedAt('producer.tableEnd.after=kill');
  const [keeper = 0] = await keepersOf(config);
  signalProcess(keeper, 'SIGKILL');
  await moveRows();
  const { plans, parts, keys } = await loadToEnd(/the snapshot of the load is gone/);
  expect(plans).toEqual([TABLES, ['wide', 'zero']]);
  expect(new Set(parts.map(({ at, load }) => `${at} ${load}`)).size).toBe(parts.length);
  expect(keys.get('first')).toHaveLength(100);
});

test.runIf(isLongRun())(
  'a keeper stays as long as it is told to when no producer runs, and goes with the slot',
  async () => {
    config = await writeConfig(', keepSnapshotMinutes: 0.05');
    await killedAt('producer.tableEnd.after=kill');
    await until(async () => (await keepersOf(config)).length === 0, { what: 'the keeper to end by itself' });
    const { plans } = await loadToEnd(/the snapshot of the load is gone/);
    expect(plans).toEqual([TABLES, ['wide', 'zero']]);
  },
);

test('a stop in the middle of the load says how long the snapshot is kept, and it goes with the slot', async () => {
  {
    await using producer = startCli(['producer', '-c', config], { RESTAGE_FAILPOINTS: 'producer.chunk.after=stop:5' });
    await producer.stopped(/chunk.after/);
    producer.kill('SIGTERM');
    producer.kill('SIGCONT');
    expect(await producer.result()).toMatchObject({ code: 0 });
    expect(producer.stderr()).toContain('its snapshot is kept for 10 minutes, and holds back vacuum');
  }
  const status = await runCli(['status', '-c', config]);
  expect(status.stdout).toMatch(/snapshot of the load kept since .*holds back vacuum/);
  expect(await keepersOf(config)).toHaveLength(1);
  await source.client.query(
    'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1',
    [source.name],
  );
  await until(async () => (await keepersOf(config)).length === 0, { what: 'the keeper to end with the slot' });
});

test('without a keeper, and with one that does not come up, the load is as it is with one', async () => {
  await using producer = startCli(['producer', '-c', config], { RESTAGE_FAILPOINTS: 'keeper.export.before=kill' });
  await producer.output(/no keeper for the snapshot of the load/);
  expectOnce(await readLoad(name, TABLES));
  expect(await keepersOf(config)).toEqual([]);
});

// In the short form the sweep of test/chaos kills at these steps.
test.runIf(isLongRun())(
  'killed around the birth of slot and keeper, and the keeper too, the next life begins anew, and no keeper is left',
  async () => {
    for (const [armed, keepers] of [
      ['producer.slot.after=kill', 0],
      ['producer.origin.manifest=kill', 0],
      ['producer.keeper.before=kill', 0],
      ['keeper.export.before=kill,producer.plan.before=kill', 0],
      ['keeper.export.after=kill,producer.plan.data=kill', 0],
      ['producer.keeper.after=kill', 1],
      ['producer.plan.manifest=kill', 1],
      ['producer.plan.after=kill', 1],
    ] as const) {
      await killedAt(armed);
      expect(await keepersOf(config), armed).toHaveLength(keepers);
    }
    const load = await loadToEnd(/the load goes on under its snapshot/);
    expect(load.plans).toEqual([TABLES]);
    expectOnce(load);
  },
);

test.runIf(isLongRun())('one that hangs and the one that takes over keep out of each other’s way', async () => {
  await using zombie = startCli(['producer', '-c', config], { RESTAGE_FAILPOINTS: 'producer.chunk.after=stop:12' });
  await zombie.stopped(/chunk.after/);
  await using next = startCli(['producer', '-c', config], { RESTAGE_FAILPOINTS: 'producer.chunk.after=stop:12' });
  await next.output(/the load goes on under its snapshot/, 30_000);
  await next.stopped(/chunk.after/);
  zombie.kill('SIGCONT');
  await zombie.output(/an attempt failed and is made again/);
  expect(await keepersOf(config)).toHaveLength(1);
  next.kill('SIGCONT');
  await until(async () => (await keepersOf(config)).length === 0, { what: 'the keeper to end' });
  const load = await readLoad(name, TABLES);
  expect(load.plans).toEqual([TABLES]);
  expectOnce(load);
});

test('a source that is restarted loses the snapshot, whoever has its name now: what is not finished is taken again', async () => {
  const infrastructure = await Infrastructure.open({ say: () => undefined, durable: false });
  try {
    const server = await infrastructure.startPostgres({ name: 'kept', from: 'embedded' });
    const own = new pg.Client(server.url);
    await own.connect();
    await own.query(TABLES_SQL);
    await own.end();
    sourceUrl = server.url;
    config = await writeConfig('');
    await killedAt('producer.tableEnd.after=kill');
    await server.restart?.('crash');
    await until(async () => (await keepersOf(config)).length === 0, { what: 'the keeper to end with its session' });
    await until(async () => (await askVersion(server.url)) !== null, { what: 'PostgreSQL to answer' });
    const { plans } = await loadToEnd(/the snapshot of the load is gone/);
    expect(plans).toEqual([TABLES, ['wide', 'zero']]);
  } finally {
    await infrastructure.stop();
  }
});

test('another snapshot of the name that was recorded is not taken for the one that is gone', async () => {
  const session = (): Promise<pg.Client> => connectPg({ url: source.url, purpose: 'source', application: 'test' });
  const [exporter, keeper, reader] = await Promise.all([session(), session(), session()]);
  try {
    await exporter.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    const { rows } = await exporter.query<{ name: string }>('SELECT pg_export_snapshot() AS name');
    const kept = await keepSnapshot(keeper, rows[0]?.name ?? '');
    await exporter.query('COMMIT');
    await source.client.query('INSERT INTO public.first VALUES (0, 0)');
    expect(await isStillKept(reader, kept)).toBe(true);
    await keeper.query('COMMIT');
    expect(await isStillKept(reader, kept)).toBe(false);

    await keeper.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    const later = (await keeper.query<{ name: string }>('SELECT pg_export_snapshot() AS name')).rows[0];
    expect(await isStillKept(reader, { ...kept, name: later?.name ?? '' })).toBe(false);
  } finally {
    await Promise.all([exporter.end(), keeper.end(), reader.end()]);
  }
});

/** The next life until the load is done and no keeper is left; its target is equal. */
async function loadToEnd(says: RegExp): Promise<LoadHistory> {
  await using sink = startCli(['sink', '-c', config, '--target', 'new']);
  await using producer = startCli(['producer', '-c', config]);
  await producer.output(says);
  await arrive(sink);
  await until(async () => (await keepersOf(config)).length === 0, { what: 'keepers to end' });
  expect(await findDifferences(sourceUrl, target.url)).toEqual([]);
  return readLoad(name, TABLES);
}

/** A life that kills itself. */
async function killedAt(armed: string): Promise<void> {
  await using producer = startCli(['producer', '-c', config], { RESTAGE_FAILPOINTS: armed });
  const { signal } = await producer.result();
  expect(signal, producer.stderr()).toBe('SIGKILL');
}

/** Rows change their pages and their keys, come and go: under the snapshot everything is as it was. */
async function moveRows(): Promise<void> {
  await source.client.query(`
    UPDATE public.wide SET n = n + 1 WHERE id % 3 = 0;
    UPDATE public.wide SET id = id + 100000 WHERE id % 50 = 0;
    DELETE FROM public.wide WHERE id % 7 = 1;
    INSERT INTO public.wide SELECT max(id) + 1, 0, 'new' FROM public.wide;
    UPDATE public.first SET id = id + 1000 WHERE id % 10 = 0;
    DELETE FROM public.zero WHERE id % 2 = 0`);
  await source.client.query('VACUUM public.wide, public.zero');
}

/** All that is committed now is at the target. */
async function arrive(sink: CliProcess): Promise<void> {
  const waited = await runCli(['wait', '-c', config, '--target', 'new', '--lsn', 'current', '--timeout', '60']);
  expect(waited, sink.stderr()).toMatchObject({ code: 0 });
}

/** No part of a chunk stands twice or is missing, and no row. */
function expectOnce({ parts, keys }: LoadHistory): void {
  expect(new Set(parts.map(({ at }) => at)).size).toBe(parts.length);
  expect(Object.fromEntries([...keys].map(([table, list]) => [table, list.length]))).toEqual({
    first: 100,
    wide: WIDE_ROWS,
    zero: 100,
  });
  for (const list of keys.values()) expect(new Set(list).size).toBe(list.length);
}

async function writeConfig(more: string, partitions = 1): Promise<string> {
  const file = path.join(folder, `${name}.yaml`);
  await writeFile(
    file,
    `name: ${name}
kafka: { brokers: ["${testKafka()}"], topics: { partitions: ${partitions} } }
source: { postgres: { url: "${sourceUrl}" }${more} }
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: create }]
epoch: { partBytes: 1000000 }
`,
  );
  return file;
}
