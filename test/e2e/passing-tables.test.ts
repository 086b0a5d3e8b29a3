import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { expect, test } from 'vitest';
import { chaosSeconds, isLongRun } from '../harness/chaos/long-run.ts';
import { startCli } from '../harness/cli.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { arrive, leftovers, loadedAfter, openLatePipeline, orEnd, slotWaits } from '../harness/late-pipeline.ts';
import { until } from '../harness/until.ts';

const LONG_MS = chaosSeconds(60) * 1_000;

test('tables that are dropped, or dropped and made again, before the snapshot of their load, through a kill: the pipeline goes on, and what is there is equal', async () => {
  const prepare = async ({ client }: { client: pg.Client }): Promise<void> =>
    void (await client.query('CREATE TABLE public.kept (id int PRIMARY KEY, n int)'));
  await using pipeline = await openLatePipeline({ schema: 'create', prepare });
  const { source, target, config } = pipeline;
  await using sink = startCli(['sink', '-c', config, '--target', 'new']);
  await using first = startCli(['producer', '-c', config]);
  await orEnd(sink, arrive(pipeline));
  const come = (names: readonly string[]): string =>
    names
      .map(
        (name) =>
          `CREATE TABLE public.${name} (id int PRIMARY KEY, n int); INSERT INTO public.${name} VALUES (1, 1), (2, 2)`,
      )
      .join(';');
  await using open = await openTransaction(source.url, 'INSERT INTO public.kept VALUES (1, 1)');
  await source.client.query(come(['gone', 'again']));
  await until(async () => (await slotWaits(pipeline)) > 0, { what: 'a slot that waits for the open transaction' });
  await source.client.query(`
    UPDATE public.gone SET n = 3; DELETE FROM public.gone WHERE id = 1; UPDATE public.again SET n = 3; DROP TABLE public.gone, public.again;
    CREATE TABLE public.again (id int PRIMARY KEY, n int, more text); INSERT INTO public.again VALUES (7, 7, 'x')`);
  await open.commit();
  await orEnd(sink, orEnd(first, loadedAfter(pipeline, '.again', 0)));
  await source.client.query(`UPDATE public.again SET n = 8; INSERT INTO public.again VALUES (8, 8, 'y')`);
  await arrive(pipeline);
  expect(await findDifferences(source.url, target.url)).toEqual([]);

  expect(await first.drain()).toMatchObject({ code: 0 });
  await using second = startCli(['producer', '-c', config], { RESTAGE_FAILPOINTS: 'producer.announce.after=kill' });
  await source.client.query(come(['doomed', 'other']));
  expect(await second.result()).toMatchObject({ signal: 'SIGKILL' });
  await source.client.query('UPDATE public.doomed SET n = 3; UPDATE public.other SET n = 3; DROP TABLE public.doomed');
  await using next = startCli(['producer', '-c', config]);
  await orEnd(sink, loadedAfter(pipeline, '.other', 0));
  await source.client.query('UPDATE public.other SET n = 4');
  await orEnd(sink, arrive(pipeline));
  expect(await findDifferences(source.url, target.url), next.stderr()).toEqual([]);
  expect(await leftovers(pipeline)).toEqual([]);
}, 240_000);

test.runIf(isLongRun())(
  'tables come and go all the time, some sooner than they are found, some in their load',
  async () => {
    await using pipeline = await openLatePipeline({
      schema: 'create',
      prepare: async ({ client }) =>
        void (await client.query(
          `CREATE TABLE public.kept (id int PRIMARY KEY, n int); INSERT INTO public.kept SELECT n, n FROM generate_series(1, 1000) n`,
        )),
    });
    const { source, target, config } = pipeline;
    await using run = startCli(['run', '-c', config]);
    const over = new AbortController();
    const churning = [0, 1, 2, 3, 4].map((writer) => churn(source.url, writer, over.signal));
    await orEnd(run, Promise.race([sleep(LONG_MS), Promise.all(churning)]));
    over.abort();
    await Promise.all(churning);
    await orEnd(run, arrive(pipeline));
    expect(await findDifferences(source.url, target.url)).toEqual([]);
    run.kill('SIGTERM');
    expect(await run.result()).toMatchObject({ code: 0 });
  },
  LONG_MS + 300_000,
);

/** Writers below 3 drop a table at once; the others write to it for seconds first. */
async function churn(url: string, writer: number, signal: AbortSignal): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  for (let turn = 0; !signal.aborted; turn += 1) {
    const name = `public.passing_${writer}_${turn}`;
    await client.query(`CREATE TABLE ${name} (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text DEFAULT 'a' || ${turn},
      g int GENERATED ALWAYS AS (length(a)) STORED)`);
    const end = writer < 3 ? 0 : Date.now() + 2_000 + ((turn * 7_919 + writer * 3_000) % 9_000);
    do
      await client.query(`INSERT INTO ${name} (a) VALUES ('a'), ('b'); UPDATE ${name} SET a = a || 'c' WHERE id % 10 = 1;
        UPDATE public.kept SET n = n + 1 WHERE id = ${1 + (turn % 1000)}`);
    while (Date.now() < end && !signal.aborted);
    await client.query(`DROP TABLE ${name}`);
  }
  await client.end();
}

interface OpenTransaction extends AsyncDisposable {
  commit(): Promise<void>;
}

async function openTransaction(url: string, sql: string): Promise<OpenTransaction> {
  const client = new pg.Client(url);
  await client.connect();
  await client.query(`BEGIN; ${sql}`);
  return {
    commit: async () => void (await client.query('COMMIT')),
    [Symbol.asyncDispose]: () => client.end(),
  };
}
