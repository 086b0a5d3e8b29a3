import pg from 'pg';
import { expect, test } from 'vitest';
import { DDL_TRIGGER_SQL } from '#adapters/postgres/source/ddl-trigger.ts';
import { pause } from '#core/backoff.ts';
import { SweptService } from '../harness/chaos/swept-service.ts';
import { isLongRun, someOf } from '../harness/chaos/long-run.ts';
import { runCli, startCli } from '../harness/cli.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import {
  arrive,
  askSnapshot,
  leftovers,
  loadedAfter,
  loadOf,
  openLatePipeline,
  orEnd,
  slotWaits,
} from '../harness/late-pipeline.ts';
import type { TestDatabase } from '../harness/database.ts';
import type { PipelinePair } from '../harness/pipeline-pair.ts';
import { until } from '../harness/until.ts';

const TOTAL = 20_000;
/** Between two transactions: who never rests takes the services' processor. */
const REST_MS = 10;
/** Rows that move between pages, values in TOAST that stay, keys that change; and a sum over two tables. */
const SHOP_SQL = `
  CREATE TABLE public.cash (id int PRIMARY KEY, amount int NOT NULL);
  CREATE TABLE public.bonds (id int PRIMARY KEY, amount int NOT NULL, note text);
  INSERT INTO public.cash SELECT n, 100 FROM generate_series(1, 100) n;
  INSERT INTO public.bonds SELECT n, 100, repeat('n', n) FROM generate_series(1, 100) n;
  CREATE TABLE public.wide (id int PRIMARY KEY, big text, small int);
  ALTER TABLE public.wide ALTER COLUMN big SET STORAGE EXTERNAL;
  INSERT INTO public.wide SELECT n, repeat(md5(n::text), 100), n FROM generate_series(1, 3000) n;
  CREATE TABLE public.log (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text, twice int GENERATED ALWAYS AS (length(what) * 2) STORED);
  INSERT INTO public.log (what) SELECT 'w' || n FROM generate_series(1, 500) n;
  CREATE TABLE public.heap (n int);
  ALTER TABLE public.heap REPLICA IDENTITY FULL;
  INSERT INTO public.heap SELECT n / 2 FROM generate_series(1, 100) n;
`;
const AGAIN = ['public.bonds', 'public.wide', 'public.log', 'public.heap'];

test('tables that are loaded again while they change are at the target what they are at the source, and no half of a transaction is ever seen', async () => {
  await using pipeline = await openLatePipeline({
    partitions: 3,
    prepare: async ({ client }) => void (await client.query(SHOP_SQL)),
  });
  const { source, target, config } = pipeline;
  await using run = startCli(['run', '-c', config]);
  await arrive(pipeline);
  // What only a load can mend.
  await target.client.query(
    `SET session_replication_role = replica; UPDATE public.wide SET small = -1 WHERE id = 2999`,
  );
  const before = await loadOf(pipeline, '.wide');
  await using writers = startWriters(source.url, target.url);
  const open = new pg.Client(source.url);
  await open.connect();
  await open.query(
    `BEGIN; UPDATE public.wide SET small = 7 WHERE id = 1; UPDATE public.bonds SET note = 'open' WHERE id = 1`,
  );
  await askSnapshot(pipeline, ...AGAIN);
  await until(async () => (await slotWaits(pipeline)) > 0, { what: 'a slot that waits for the open transaction' });
  await source.client.query(
    // In the writers' order of locks: a deadlock of the two would end one of them.
    `ALTER TABLE public.cash ADD COLUMN note text; UPDATE public.cash SET note = 'altered' WHERE id % 2 = 0;
     TRUNCATE public.log; INSERT INTO public.log (what) VALUES ('after')`,
  );
  await open.query('COMMIT');
  await open.end();
  await loadedAfter(pipeline, '.wide', before);
  expect(await writers.end()).toEqual({ torn: [], failed: [] });
  await arrive(pipeline);
  expect(await findDifferences(source.url, target.url)).toEqual([]);
  const verified = await runCli(['verify', '-c', config, '--target', 'new']);
  expect(verified, verified.stdout + verified.stderr).toMatchObject({ code: 0 });
  expect(await leftovers(pipeline)).toEqual([]);
  run.kill('SIGTERM');
  expect(await run.result()).toMatchObject({ code: 0 });
}, 240_000);

test('killed at each step of a late load, producer and sink come back, the request is served once, and nothing is lost or torn', async () => {
  await using pipeline = await openLatePipeline({ prepare: async ({ client }) => void (await client.query(SHOP_SQL)) });
  const { source, target, config } = pipeline;
  await using first = startCli(['run', '-c', config]);
  await arrive(pipeline);
  first.kill('SIGTERM');
  await first.result();
  await using producer = new SweptService('producer', ['producer', '-c', config]);
  await using sink = new SweptService('sink', ['sink', '-c', config, '--target', 'new']);
  await using writers = startWriters(source.url, target.url);
  const before = await loadOf(pipeline, '.wide');
  await askSnapshot(pipeline, ...AGAIN);
  await Promise.all([
    producer.sweep(
      isLongRun()
        ? 'announce.data announce.after lateRequest.before lateRequest.after lateSlot.after plan.after chunk.after tableEnd.manifest end.manifest stream.after'
        : 'announce.data lateRequest.before lateSlot.after end.manifest',
    ),
    sink.sweep(
      isLongRun()
        ? 'announce.before announce.after shadow.after chunk.after:2 tableEnd.before lateLoaded.before lateLoaded.after exchange.before exchange.after'
        : 'shadow.after lateLoaded.before exchange.after',
    ),
  ]);
  await loadedAfter(pipeline, '.wide', before);
  expect(await writers.end()).toEqual({ torn: [], failed: [] });
  await arrive(pipeline);
  expect(await findDifferences(source.url, target.url)).toEqual([]);
  expect(await leftovers(pipeline)).toEqual([]);
  expect(await producer.drain()).toMatchObject({ code: 0 });
  expect(await sink.drain()).toMatchObject({ code: 0 });
}, 300_000);

const NEW_SQL = `
  CREATE TYPE public.colour AS ENUM ('red', 'blue');
  CREATE TABLE public.later (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, paint public.colour, price numeric(8,2) NOT NULL UNIQUE);
  INSERT INTO public.later (paint, price) SELECT 'red', n FROM generate_series(1, 2000) n;
  CREATE TABLE public.event_2 PARTITION OF public.event FOR VALUES FROM (100) TO (200);
  INSERT INTO public.event SELECT n, 'e' || n FROM generate_series(100, 150) n;
`;

test.each<[string, [15 | 18, 15 | 18], 'copy' | 'create', string]>(
  someOf(
    [
      [
        'through a transformer, structure as captured',
        [18, 18],
        'create',
        'transform: { outputs: [{ name: main, rules: [{ table: public.bonds, columns: { rename: { note: remark } } }] }] }',
      ],
      ['raw topics, structure by pg_dump', [15, 15], 'copy', ''],
    ],
    1,
  ),
)(
  'a new table and a new partition come while they change: %s',
  async (_what, versions, schema, more) => {
    const prepare = async ({ client }: { client: pg.Client }): Promise<void> => {
      await client.query(SHOP_SQL);
      await client.query(`CREATE TABLE public.event (id int PRIMARY KEY, what text) PARTITION BY RANGE (id);
        CREATE TABLE public.event_1 PARTITION OF public.event FOR VALUES FROM (0) TO (100);
        INSERT INTO public.event SELECT n, 'e' || n FROM generate_series(0, 99) n`);
    };
    await using pipeline = await openLatePipeline({ versions, schema, more, partitions: 2, prepare });
    const { source, target, config } = pipeline;
    await using run = startCli(['run', '-c', config]);
    await arrive(pipeline);
    await using writers = startWriters(source.url, target.url);
    await source.client.query(NEW_SQL);
    for (let turn = 0; (await loadOf(pipeline, '.later')) === 0 && turn < 2_000; turn += 1) {
      await source.client.query(`
        UPDATE public.later SET paint = 'blue', price = price + 10000 WHERE id = ${1 + turn};
        DELETE FROM public.later WHERE id = ${2000 - turn};
        INSERT INTO public.later (paint, price) VALUES ('red', ${100_000 + turn});
        UPDATE public.event SET what = 'turn ${turn}' WHERE id = ${turn % 150}`);
    }
    await loadedAfter(pipeline, '.event_2', 0);
    expect(await writers.end()).toEqual({ torn: [], failed: [] });
    await arrive(pipeline);
    const renamed =
      more === '' ? [] : [{ table: { schema: 'public', table: 'bonds' }, columns: new Map([['note', 'remark']]) }];
    expect(await findDifferences(source.url, target.url, renamed)).toEqual([]);
    expect(await keysOf(pipeline, 'public.later')).toEqual(['PRIMARY KEY (id)']);
    if (schema === 'copy') expect(await keysOf(pipeline, 'public.event_2')).toEqual(['PRIMARY KEY (id)']);
    await source.client.query(
      `INSERT INTO public.later (paint, price) VALUES ('blue', -1); DELETE FROM public.event WHERE id = 101`,
    );
    await askSnapshot(pipeline, 'public.later', 'public.bonds');
    await arrive(pipeline);
    expect(await findDifferences(source.url, target.url, renamed)).toEqual([]);
    run.kill('SIGTERM');
    expect(await run.result()).toMatchObject({ code: 0 });
  },
  240_000,
);

test.runIf(isLongRun())(
  'rows that are computed anew at the source, with and without a trace in their columns, are loaded again in their place',
  async () => {
    await using pipeline = await openLatePipeline({
      prepare: async ({ client }) => void (await client.query(SHOP_SQL)),
    });
    const { source, target, config } = pipeline;
    await source.client.query(DDL_TRIGGER_SQL);
    await using run = startCli(['run', '-c', config]);
    await arrive(pipeline);
    await using writers = startWriters(source.url, target.url, transfers);
    await source.client.query(`
      ALTER TABLE public.wide ALTER COLUMN small TYPE text USING 'v' || small;
      UPDATE public.wide SET small = 'after' WHERE id = 7`);
    await source.client.query(`
      BEGIN;
      UPDATE public.bonds SET note = 'before' WHERE id = 99;
      ALTER TABLE public.bonds ADD COLUMN luck float8 DEFAULT random();
      UPDATE public.bonds SET note = 'after' WHERE id = 100;
      COMMIT`);
    await orEnd(run, loadedAfter(pipeline, '.bonds', 1));
    await source.client.query('ALTER TABLE public.wide ALTER COLUMN big TYPE text USING upper(big)');
    expect(await writers.end()).toEqual({ torn: [], failed: [] });
    await arrive(pipeline);
    expect(await findDifferences(source.url, target.url)).toEqual([]);
    expect(await typesOf(target, 'wide')).toEqual(await typesOf(source, 'wide'));
    expect(await leftovers(pipeline)).toEqual([]);
    run.kill('SIGTERM');
    expect(await run.result()).toMatchObject({ code: 0 });
  },
  240_000,
);

const KIN_SQL = `
  CREATE TABLE public.event (id int PRIMARY KEY, what text, n int NOT NULL) PARTITION BY RANGE (id);
  CREATE TABLE public.event_1 PARTITION OF public.event FOR VALUES FROM (0) TO (100);
  CREATE TABLE public.event_2 PARTITION OF public.event FOR VALUES FROM (100) TO (200);
  INSERT INTO public.event SELECT g, 'e' || g, g FROM generate_series(0, 199) g;
  CREATE TYPE public.pair AS (a int, b int);
  CREATE TABLE public.typed OF public.pair (PRIMARY KEY (a));
  CREATE TABLE public.typed_too OF public.pair (PRIMARY KEY (a));
  INSERT INTO public.typed VALUES (1, 2); INSERT INTO public.typed_too VALUES (1, 2);
  CREATE TABLE public.parent (id int PRIMARY KEY, v text, n int);
  CREATE TABLE public.child (own text, PRIMARY KEY (id)) INHERITS (public.parent);
  INSERT INTO public.parent VALUES (1, 'p', 1); INSERT INTO public.child VALUES (2, 'c', 2, 'o');
  CREATE TYPE public.colour AS ENUM ('red');
  CREATE TABLE public.paint (id int PRIMARY KEY, c public.colour);
`;
/** Each is a statement over several tables, and a change of one of them that shows it. */
const KIN_REWRITES = [
  `ALTER TABLE public.event ALTER COLUMN n TYPE bigint USING n * 3000000000; UPDATE public.event SET what = 'seen' WHERE id = 1`,
  `ALTER TYPE public.pair ALTER ATTRIBUTE b TYPE bigint CASCADE; UPDATE public.typed SET b = 3000000000`,
  `ALTER TABLE public.parent ALTER COLUMN n TYPE bigint; UPDATE public.child SET n = 3000000000`,
] as const;

test('tables whose columns are those of another one, or of a type, are loaded again together; a new partition or table that changes before its snapshot is made of what that has', async () => {
  await using pipeline = await openLatePipeline({ prepare: async ({ client }) => void (await client.query(KIN_SQL)) });
  const { source, target, config } = pipeline;
  await using run = startCli(['run', '-c', config]);
  await arrive(pipeline);
  for (const sql of KIN_REWRITES) {
    await source.client.query(sql);
    await orEnd(run, arrive(pipeline));
    expect(await findDifferences(source.url, target.url), sql).toEqual([]);
  }
  const open = new pg.Client(source.url);
  await open.connect();
  await open.query(`BEGIN; UPDATE public.typed SET b = 4`);
  await source.client.query(
    `CREATE TABLE public.event_3 PARTITION OF public.event FOR VALUES FROM (200) TO (300); INSERT INTO public.event VALUES (200, 'new', 1);
     CREATE TABLE public.paint_too (id int PRIMARY KEY, c public.colour)`,
  );
  await until(async () => (await slotWaits(pipeline)) > 0, { what: 'a slot that waits for the open transaction' });
  await source.client.query(`
    ALTER TABLE public.event ADD COLUMN more int NOT NULL DEFAULT 7, DROP COLUMN what;
    ALTER TABLE public.event RENAME COLUMN n TO m;
    INSERT INTO public.event (id, m) VALUES (201, 2)`);
  await source.client.query(`ALTER TYPE public.colour ADD VALUE 'blue'`);
  await source.client.query(`INSERT INTO public.paint_too VALUES (1, 'blue')`);
  await open.query('COMMIT');
  await open.end();
  await orEnd(run, loadedAfter(pipeline, '.event_3', 0));
  await orEnd(run, loadedAfter(pipeline, '.paint_too', 0));
  await source.client.query(`UPDATE public.event SET more = 8 WHERE id IN (2, 102, 201)`);
  await orEnd(run, arrive(pipeline));
  expect(await findDifferences(source.url, target.url)).toEqual([]);
  const { rows } = await target.client.query(
    `SELECT count(*)::int AS n FROM pg_partition_tree('public.event') WHERE isleaf`,
  );
  expect(rows).toEqual([{ n: 3 }]);
  run.kill('SIGTERM');
  expect(await run.result()).toMatchObject({ code: 0 });
}, 240_000);

/** Money between two tables, one of which is loaded again, rows that grow, keys that change; and a look at the target all the while. */
function startWriters(sourceUrl: string, targetUrl: string, sqlOf: (turn: number) => string = writes): Writers {
  const stop = new AbortController();
  const torn: number[] = [];
  const failed: string[] = [];
  const work = (async () => {
    const writer = new pg.Client(sourceUrl);
    const reader = new pg.Client(targetUrl);
    await Promise.all([writer.connect(), reader.connect()]);
    try {
      for (let turn = 0; !stop.signal.aborted; turn += 1) {
        await writer.query(sqlOf(turn));
        const { rows } = await reader.query<{ sum: string }>(
          'SELECT ((SELECT sum(amount) FROM public.cash) + (SELECT sum(amount) FROM public.bonds))::text AS sum',
        );
        if (Number(rows[0]?.sum) !== TOTAL) torn.push(Number(rows[0]?.sum));
        await pause(REST_MS);
      }
    } finally {
      await Promise.all([writer.end(), reader.end()]);
    }
  })().catch(
    (error: unknown) => void failed.push(error instanceof Error ? (error.stack ?? error.message) : String(error)),
  );
  const end = async (): Promise<{ torn: number[]; failed: string[] }> => {
    stop.abort();
    await work;
    return { torn, failed };
  };
  return { end, [Symbol.asyncDispose]: async () => void (await end()) };
}

interface Writers extends AsyncDisposable {
  end(): Promise<{ torn: number[]; failed: string[] }>;
}

function transfers(turn: number): string {
  return `
    BEGIN;
    UPDATE public.cash SET amount = amount - 3 WHERE id = ${1 + (turn % 90)};
    UPDATE public.bonds SET amount = amount + 3 WHERE id = ${5 + (turn % 90)};
    COMMIT`;
}

function writes(turn: number): string {
  const id = 1 + (turn % 90);
  return `
    BEGIN;
    UPDATE public.cash SET amount = amount - 3 WHERE id = ${id};
    UPDATE public.bonds SET amount = amount + 3, note = repeat('x', ${(turn * 37) % 900}) WHERE id = ${id + 5};
    UPDATE public.wide SET small = small + 1 WHERE id = ${2 + ((turn * 31) % 2900)};
    UPDATE public.wide SET id = ${10_000 + turn} WHERE id = (SELECT max(id) FROM public.wide WHERE id < ${2900 - (turn % 500)});
    INSERT INTO public.log (what) VALUES ('t${turn}');
    INSERT INTO public.heap VALUES (${turn % 7});
    DELETE FROM public.heap WHERE ctid = (SELECT min(ctid) FROM public.heap);
    COMMIT`;
}

async function keysOf({ target }: PipelinePair, table: string): Promise<string[]> {
  const { rows } = await target.client.query<{ definition: string }>(
    `SELECT pg_get_constraintdef(oid) AS definition FROM pg_constraint WHERE conrelid = $1::regclass AND contype IN ('p', 'u') ORDER BY 1`,
    [table],
  );
  return rows.map(({ definition }) => definition);
}

async function typesOf({ client }: TestDatabase, table: string): Promise<unknown[]> {
  const { rows } = await client.query<{ name: string; type: string }>(
    `SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
      WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY 1`,
    [`public.${table}`],
  );
  return rows;
}
