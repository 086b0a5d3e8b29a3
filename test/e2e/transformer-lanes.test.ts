import { expect, test } from 'vitest';
import type { Manifest } from '#core/manifest.ts';
import { runCli, startCli } from '../harness/cli.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { arrive } from '../harness/late-pipeline.ts';
import { openPair } from '../harness/pipeline-pair.ts';
import { readTopics } from '../harness/topic-records.ts';

const TABLES_SQL = `
  CREATE TABLE public.item (id int PRIMARY KEY, name text, price int NOT NULL);
  INSERT INTO public.item SELECT n, 'i' || n, n FROM generate_series(1, 2000) n;
  CREATE TABLE public.note (what text);
  ALTER TABLE public.note REPLICA IDENTITY FULL;
  INSERT INTO public.note SELECT 'n' || n % 10 FROM generate_series(1, 100) n`;
const OUTPUT = `transform: { outputs: [{ name: main, ordering: key, rules: [{ table: public.item, columns: { rename: { id: number } } }] }] }`;
const RENAMED = [{ table: { schema: 'public', table: 'item' }, columns: new Map([['id', 'number']]) }];

/** Keys that change and swap, rows that come and go, and what stands between rows. */
const STORY = [
  `UPDATE public.item SET price = price + 1; DELETE FROM public.item WHERE id % 9 = 0; DELETE FROM public.note WHERE what = 'n3'`,
  `BEGIN; UPDATE public.item SET id = -id WHERE id % 5 = 0; UPDATE public.item SET id = -id + 10000, name = 'moved' WHERE id < 0; COMMIT`,
  `TRUNCATE public.note; INSERT INTO public.note VALUES ('after'), ('after')`,
  `ALTER TABLE public.item ADD COLUMN extra text; UPDATE public.item SET extra = 'x' || price WHERE price % 3 = 0`,
] as const;

test('two transformer processes share an output, one dies, and the target is what it would be behind one', async () => {
  await using pipeline = await openPair({
    name: 'shared',
    versions: [15, 15],
    schema: 'create',
    source: 'heartbeatMs: 1000',
    partitions: 3,
    more: OUTPUT,
    prepare: ({ client }) => client.query(TABLES_SQL),
  });
  const { source, target, config } = pipeline;
  await using producer = startCli(['producer', '-c', config]);
  await using first = startCli(['transformer', '-c', config, '--lanes', '2']);
  await using second = startCli(['transformer', '-c', config]);
  await using sink = startCli(['sink', '-c', config, '--target', 'new']);
  const all = [producer, first, second, sink].map((one) => () => one.stderr());
  const arrived = (): Promise<void> =>
    arrive(pipeline).catch((error: unknown) => {
      throw new Error(all.map((stderr) => stderr()).join('\n'), { cause: error });
    });
  await arrived();
  expect(await findDifferences(source.url, target.url, RENAMED)).toEqual([]);
  for (const sql of STORY.slice(0, 2)) await source.client.query(sql);
  first.kill('SIGKILL');
  for (const sql of STORY.slice(2)) await source.client.query(sql);
  await arrived();
  expect(await findDifferences(source.url, target.url, RENAMED)).toEqual([]);
  const verified = await runCli(['verify', '-c', config, '--target', 'new']);
  expect(verified, verified.stdout + verified.stderr).toMatchObject({ code: 0 });
  const name = source.name.replaceAll('_', '-');
  const epochs = await readTopics([`${name}.shaped.main.v1.epochs`], (_all, { value }) => parse(value).kind === 'end');
  const load = epochs.map(({ value }) => parse(value)).filter(({ kind }) => kind === 'chunk');
  const partitions = load.flatMap(({ ranges }) => ranges.map(({ partition }) => partition));
  expect([...new Set(partitions)].toSorted((a, b) => a - b)).toEqual([0, 1, 2]);
  expect(load[0]?.raw?.shares).toHaveLength(3);
  for (const one of [second, sink, producer]) one.kill('SIGTERM');
  for (const one of [second, sink, producer]) expect(await one.result(20_000)).toMatchObject({ code: 0 });
}, 240_000);

function parse(value: Buffer | null): Manifest {
  return JSON.parse(value?.toString() ?? 'null') as Manifest;
}
