import pg from 'pg';
import { expect, test } from 'vitest';
import { startCli } from '../harness/cli.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { arrive, loadedAfter, openLatePipeline, orEnd, slotWaits } from '../harness/late-pipeline.ts';
import { until } from '../harness/until.ts';

/** Tables that have columns of another one, or of a type. */
const KIN_SQL = `
  CREATE TABLE public.event (id int PRIMARY KEY, what text, gone int, n int NOT NULL) PARTITION BY RANGE (id);
  CREATE TABLE public.event_1 PARTITION OF public.event FOR VALUES FROM (0) TO (100);
  CREATE TABLE public.event_2 PARTITION OF public.event FOR VALUES FROM (100) TO (200);
  INSERT INTO public.event SELECT g, 'e' || g, 1, g FROM generate_series(0, 199) g;
  CREATE TYPE public.pair AS (a int, b int, gone text);
  CREATE TABLE public.typed OF public.pair (PRIMARY KEY (a));
  INSERT INTO public.typed VALUES (1, 2), (2, 3);
  CREATE TABLE public.parent (id int PRIMARY KEY, v varchar(9), gone int);
  CREATE TABLE public.child (own text, PRIMARY KEY (id)) INHERITS (public.parent);
  INSERT INTO public.parent VALUES (1, 'p', 1); INSERT INTO public.child VALUES (2, 'c', 2, 'o');
  CREATE TABLE public.other (id int PRIMARY KEY, n int)`;

const NEW_SQL = `
  CREATE TABLE public.event_3 PARTITION OF public.event FOR VALUES FROM (200) TO (300);
  INSERT INTO public.event VALUES (200, 'new', 2, 1), (201, 'new', 2, 1);
  CREATE TABLE public.typed_new OF public.pair (PRIMARY KEY (a)); INSERT INTO public.typed_new VALUES (7, 8);
  CREATE TABLE public.heir (more int, PRIMARY KEY (id)) INHERITS (public.parent); INSERT INTO public.heir VALUES (3, 'h', 3, 4)`;

/** Each shows in a table that is there; only then the new ones change, which the stream waits at for their snapshot. */
const ALTERED = [
  `UPDATE public.event SET n = -1 WHERE id = 3;
   ALTER TABLE public.event RENAME COLUMN what TO why; ALTER TABLE public.event DROP COLUMN gone, ADD COLUMN more int NOT NULL DEFAULT 7;
   UPDATE public.event SET why = 'seen' WHERE id IN (1, 101)`,
  `ALTER TYPE public.pair ADD ATTRIBUTE c int CASCADE; UPDATE public.typed SET c = 1 WHERE a = 1`,
  `ALTER TYPE public.pair DROP ATTRIBUTE gone CASCADE; UPDATE public.typed SET b = 9 WHERE a = 2`,
  `ALTER TABLE public.parent DROP COLUMN gone, ALTER COLUMN v TYPE text;
   UPDATE ONLY public.parent SET v = 'longer than nine'; UPDATE public.child SET v = 'longer than that'`,
  `UPDATE public.event SET why = 'seen' WHERE id = 201; UPDATE public.typed_new SET c = 2; UPDATE public.heir SET v = 'the longest of all'`,
];

test.each(['auto', 'off'])(
  'new tables with the columns of others, which are altered between their announcement and their snapshot, get their rows where the stream has altered them: event triggers %s',
  async (trigger) => {
    await using pipeline = await openLatePipeline({
      source: `, onRewrite: stop, ddlTrigger: ${trigger}`,
      prepare: async ({ client }) => void (await client.query(KIN_SQL)),
    });
    const { source, target, config } = pipeline;
    await using run = startCli(['run', '-c', config]);
    await arrive(pipeline);
    const open = new pg.Client(source.url);
    await open.connect();
    await open.query('BEGIN; INSERT INTO public.other VALUES (1, 1)');
    await source.client.query(NEW_SQL);
    await until(async () => (await slotWaits(pipeline)) > 0, { what: 'a slot that waits for the open transaction' });
    for (const sql of ALTERED) await source.client.query(sql);
    await open.query('COMMIT');
    await open.end();
    await orEnd(run, loadedAfter(pipeline, '.event_3', 0));
    await source.client.query(`
      UPDATE public.event SET more = 8 WHERE id IN (2, 102, 201); DELETE FROM public.event WHERE id = 200; INSERT INTO public.event (id, n) VALUES (202, 2);
      UPDATE public.typed_new SET b = 10; INSERT INTO public.heir VALUES (4, 'later', 5)`);
    await orEnd(run, arrive(pipeline));
    expect(await findDifferences(source.url, target.url)).toEqual([]);
    run.kill('SIGTERM');
    expect(await run.result()).toMatchObject({ code: 0 });
  },
  180_000,
);
