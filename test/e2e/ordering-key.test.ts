import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { expect, test } from 'vitest';
import { pause } from '#core/backoff.ts';
import { isLongRun } from '../harness/chaos/long-run.ts';
import { SweptService } from '../harness/chaos/swept-service.ts';
import { runCli, startCli } from '../harness/cli.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { arrive } from '../harness/late-pipeline.ts';
import { openPair, type PipelinePair } from '../harness/pipeline-pair.ts';
import { servicesOf, signalProcess } from '../harness/service-processes.ts';
import { until } from '../harness/until.ts';

const COUNTERS = 40;
/** Rows that may be taken apart; a key that refers; a second unique column; no key at all. */
const SQL = `
  CREATE TABLE public.counter (id int PRIMARY KEY, version int NOT NULL);
  INSERT INTO public.counter SELECT n, 0 FROM generate_series(1, ${COUNTERS}) n;
  CREATE TABLE public.child (id int PRIMARY KEY, counter int NOT NULL REFERENCES public.counter ON DELETE CASCADE, what text);
  CREATE TABLE public.named (id int PRIMARY KEY, name text UNIQUE DEFERRABLE INITIALLY DEFERRED);
  INSERT INTO public.named SELECT n, 'n' || n FROM generate_series(1, 10) n;
  CREATE TABLE public.moved (id int PRIMARY KEY, v int);
  INSERT INTO public.moved SELECT n, n FROM generate_series(1, 20) n;
  CREATE TABLE public.heap (n int);
  ALTER TABLE public.heap REPLICA IDENTITY FULL;
`;

test('sinks and transformers of several processes share the work, row by row in order, through kills, key changes, TRUNCATE and DDL; and one sink keeps whole transactions again', async () => {
  await using pipeline = await openPair({
    name: 'lanes',
    versions: [15, 15],
    schema: 'copy',
    partitions: 4,
    source: 'heartbeatMs: 1000',
    sink: ', ordering: key, instances: 2',
    more: 'transform: { outputs: [{ name: main, ordering: key }] }',
    prepare: async ({ client }) => void (await client.query(SQL)),
  });
  const { source, target, config } = pipeline;
  await using run = startCli(['run', '-c', config]);
  await using other = startCli(['transformer', '-c', config]);
  await arrive(pipeline);
  await using watch = watchCounters(target.url);
  await using writer = startWriter(source.url);
  await writer.passes(30);
  await until(async () => watch.mostLanes === 4, { what: 'four lanes that apply' });
  // Locked in the writer's order, child before heap: the other way round the two end in a deadlock.
  await source.client.query(
    `UPDATE public.moved SET id = id + 100, v = v + 1; ALTER TABLE public.child ADD COLUMN more int DEFAULT 7; TRUNCATE public.heap`,
  );
  const services = (await servicesOf(run.pid, config)).filter(({ service }) => service !== 'producer');
  expect(services.map(({ service }) => service).toSorted()).toEqual(['sink', 'sink', 'transformer']);
  for (const { pid } of services) {
    await writer.passes(20);
    signalProcess(pid, 'SIGKILL');
  }
  await writer.passes(60);
  await source.client.query('UPDATE public.moved SET id = id + 100, v = v + 1');
  await arrive(pipeline);
  const verified = await runCli(['verify', '-c', config, '--target', 'new']);
  expect(verified, verified.stdout + verified.stderr).toMatchObject({ code: 0 });
  const status = await runCli(['status', '-c', config]);
  expect(status.stdout).toContain('new: ordering: key: rows in order, parts of transactions may show');
  await writer.passes(30);
  for (const one of [run, other]) one.kill('SIGTERM');
  for (const one of [run, other]) expect(await one.result()).toMatchObject({ code: 0 });
  await writer.end();
  const text = await readFile(config, 'utf8');
  await writeFile(config, text.replace('ordering: key, instances: 2', 'ordering: transaction'));
  await using back = startCli(['run', '-c', config]);
  await arrive(pipeline);
  expect(await findDifferences(source.url, target.url)).toEqual([]);
  expect(await spreadsOf(pipeline)).toEqual({ format: 1, spreads: 0, lanes: 0 });
  expect(watch.wentBack).toEqual([]);
  back.kill('SIGTERM');
  expect(await back.result()).toMatchObject({ code: 0 });
}, 240_000);

test.runIf(isLongRun())(
  'killed at each step of its lanes, a sink goes on; then its target is switched to, and back',
  async () => {
    await using pipeline = await openPair({
      name: 'swept',
      versions: [15, 15],
      schema: 'copy',
      partitions: 4,
      source: 'heartbeatMs: 1000',
      sink: ', ordering: key',
      prepare: async ({ client }) => void (await client.query(SQL)),
    });
    const { source, target, config } = pipeline;
    await using first = startCli(['run', '-c', config]);
    await arrive(pipeline);
    first.kill('SIGTERM');
    expect(await first.result()).toMatchObject({ code: 0 });
    await using producer = startCli(['producer', '-c', config]);
    await using sink = new SweptService('sink', ['sink', '-c', config, '--target', 'new']);
    await using watch = watchCounters(target.url);
    await using writer = startWriter(source.url);
    await using meetings = startMeetings(source.url, config);
    for (let round = 0; round < 3; round += 1)
      await sink.sweep('spreadOpen.* lane.* lane.*:7 spreadMeet.* spreadClose.*');
    await meetings[Symbol.asyncDispose]();
    await writer.end();
    await arrive(pipeline);
    expect(await findDifferences(source.url, target.url)).toEqual([]);
    expect(watch.wentBack).toEqual([]);

    expect(await sink.drain()).toMatchObject({ code: 0 });
    expect(await producer.drain()).toMatchObject({ code: 0 });
    await using run = startCli(['run', '-c', config]);
    await arrive(pipeline);
    expect(await runCli(['verify', '-c', config, '--target', 'new'])).toMatchObject({ code: 0 });
    await using reverse = startCli(['reverse', '-c', config, '--target', 'new']);
    for (const [command, from, to] of [
      ['cutover', source, target],
      ['rollback', target, source],
    ] as const) {
      await from.client.query(
        `UPDATE public.counter SET version = version + 1; UPDATE public.moved SET id = id + 1000`,
      );
      const done = await runCli([command, '-c', config, '--target', 'new', '--yes', '--time-box', '90s'], {}, 180_000);
      expect(done, done.stderr + reverse.stderr()).toMatchObject({ code: 0 });
      await to.client.query(`UPDATE public.counter SET version = version + 1`);
      await until(async () => (await findDifferences(source.url, target.url)).length === 0, {
        what: `both sides equal after the ${command}`,
        timeoutMs: 60_000,
      }).catch((cause: unknown) => {
        throw new Error(run.stderr().slice(-6_000) + reverse.stderr().slice(-3_000), { cause });
      });
    }
    for (const one of [reverse, run]) {
      one.kill('SIGTERM');
      expect(await one.result()).toMatchObject({ code: 0 });
    }
  },
  1_800_000,
);

/** What makes lanes meet, again and again: keys that change, and a pause. */
function startMeetings(url: string, config: string): AsyncDisposable {
  const over = new AbortController();
  const meet = async (): Promise<void> => {
    const client = new pg.Client(url);
    await client.connect();
    while (!over.signal.aborted) {
      await client.query('UPDATE public.moved SET id = id + 100, v = v + 1');
      await sleep(500);
      for (const command of ['pause', 'resume']) {
        const done = await runCli([command, '-c', config, '--target', 'new']);
        expect(done, done.stderr).toMatchObject({ code: 0 });
        await sleep(500);
      }
    }
    await client.end();
  };
  const meeting = meet();
  return {
    async [Symbol.asyncDispose]() {
      over.abort();
      await meeting;
    },
  };
}

async function spreadsOf({ target }: PipelinePair): Promise<unknown> {
  const { rows } = await target.client.query(
    `SELECT format, (SELECT count(*)::int FROM restage.spread) AS spreads, (SELECT count(*)::int FROM restage.lane) AS lanes FROM restage.checkpoint`,
  );
  return rows[0];
}

interface CounterWatch extends AsyncDisposable {
  readonly wentBack: readonly string[];
  readonly mostLanes: number;
}

/** Between two looks, and two transactions: whoever never rests takes the services' processor. */
const LOOK_MS = 10;
const WRITE_MS = 5;

/** Reads the target again and again: no row may ever be what it was before. */
function watchCounters(url: string): CounterWatch {
  const wentBack: string[] = [];
  let mostLanes = 0;
  const over = new AbortController();
  const look = async (): Promise<void> => {
    const client = new pg.Client(url);
    await client.connect();
    const seen = new Map<number, number>();
    while (!over.signal.aborted) {
      const { rows } = await client.query<{ id: number; version: number }>('SELECT id, version FROM public.counter');
      for (const { id, version } of rows) {
        if (version < (seen.get(id) ?? 0)) wentBack.push(`counter ${id}: ${seen.get(id)}, then ${version}`);
        seen.set(id, version);
      }
      const there = await client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.lane')`);
      if (there.rowCount === 1)
        mostLanes = Math.max(mostLanes, (await client.query('SELECT FROM restage.lane')).rowCount ?? 0);
      await pause(LOOK_MS);
    }
    await client.end();
  };
  const looking = look();
  return {
    wentBack,
    get mostLanes() {
      return mostLanes;
    },
    async [Symbol.asyncDispose]() {
      over.abort();
      await looking;
    },
  };
}

interface Writer extends AsyncDisposable {
  /** Until so many more transactions have committed. */
  passes(transactions: number): Promise<void>;
  end(): Promise<void>;
}

function startWriter(url: string): Writer {
  let done = 0;
  const over = new AbortController();
  const write = async (): Promise<void> => {
    const client = new pg.Client(url);
    await client.connect();
    for (let n = 1; !over.signal.aborted; n += 1) {
      const id = (n % COUNTERS) + 1;
      await client.query(
        `BEGIN;
         UPDATE public.counter SET version = version + 1 WHERE id % 4 = ${n % 4};
         INSERT INTO public.child (id, counter, what) VALUES (${n}, ${id}, 'c${n}');
         UPDATE public.named SET name = 'n' || (id + ${n}) % 10 WHERE id <= 10;
         INSERT INTO public.heap VALUES (${n % 5});
         DELETE FROM public.child WHERE id = ${n - 20};
         COMMIT`,
      );
      done = n;
      await pause(WRITE_MS);
    }
    await client.end();
  };
  const writing = write();
  const end = async (): Promise<void> => {
    over.abort();
    await writing;
  };
  return {
    async passes(transactions) {
      const wanted = done + transactions;
      await Promise.race([until(() => done >= wanted, { what: `${transactions} transactions more` }), writing]);
    },
    end,
    [Symbol.asyncDispose]: end,
  };
}
