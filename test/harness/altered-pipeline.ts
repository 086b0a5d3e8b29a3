import { expect } from 'vitest';
import type { CliProcess } from './cli.ts';
import { findDifferences } from './compare-tables.ts';
import type { TestDatabase } from './database.ts';
import { openPair, type PipelinePair } from './pipeline-pair.ts';
import { until } from './until.ts';

const START_SQL = `
  CREATE TYPE public.mood AS ENUM ('ok', 'sad');
  CREATE TABLE public.item (id int PRIMARY KEY, name varchar(10) COLLATE "POSIX", gone text, mood public.mood, moods public.mood[], secret text);
  INSERT INTO public.item SELECT g, 'n' || g, 'g', (CASE WHEN g % 4 = 0 THEN 'sad' ELSE 'ok' END)::public.mood, '{ok,sad}', 's' FROM generate_series(1, 100) g;
  CREATE TABLE public.heap (n int);
  ALTER TABLE public.heap REPLICA IDENTITY FULL;
  INSERT INTO public.heap SELECT g FROM generate_series(1, 10) g;
  CREATE TABLE public.part (id int PRIMARY KEY, what text, gone int) PARTITION BY RANGE (id);
  CREATE TABLE public.part_1 PARTITION OF public.part FOR VALUES FROM (1) TO (100);
  CREATE TABLE public.part_2 PARTITION OF public.part FOR VALUES FROM (100) TO (200);
  INSERT INTO public.part VALUES (1, 'a', 1), (2, 'b', 2), (101, 'c', 3), (102, 'd', 4);
  CREATE TYPE public.pair AS (a int, b text, gone int);
  CREATE TABLE public.typed OF public.pair (PRIMARY KEY (a));
  CREATE TABLE public.typed_too OF public.pair (PRIMARY KEY (a));
  INSERT INTO public.typed VALUES (1, 'a'), (2, 'b'); INSERT INTO public.typed_too VALUES (1, 'a'), (2, 'b');
  CREATE TABLE public.parent (id int PRIMARY KEY, v varchar(9), gone int, more text);
  CREATE TABLE public.child (own text, PRIMARY KEY (id)) INHERITS (public.parent);
  INSERT INTO public.parent VALUES (1, 'p', 1, 'm'); INSERT INTO public.child VALUES (2, 'c', 2, 'n', 'o');
  CREATE TABLE public.keyed (id int PRIMARY KEY, n int); INSERT INTO public.keyed VALUES (1, 1), (2, 2), (3, 3);
`;

/** `options` are of the source. */
export function openAltered(
  versions: readonly [15 | 18, 15 | 18],
  schema: string,
  transform = '',
  options = 'onRewrite: stop',
): Promise<PipelinePair> {
  return openPair({
    name: 'ddl',
    versions,
    schema,
    source: options,
    more: transform,
    prepare: (source) => source.client.query(START_SQL),
  });
}

/** Every table, as the source has it. */
export async function untilSame({ source, target }: PipelinePair, run: CliProcess, what: string): Promise<void> {
  const isSame = async (): Promise<boolean> => {
    if (run.hasEnded()) throw new Error(run.stderr());
    return (await findDifferences(source.url, target.url)).length === 0;
  };
  await until(isSame, { what: `the target after ${what}`, timeoutMs: 90_000 }).catch(async (error: unknown) => {
    expect(await findDifferences(source.url, target.url), `${what}\n${run.stderr()}`).toEqual([]);
    throw error;
  });
}

export async function execute(database: TestDatabase, sql: string): Promise<void> {
  await database.client.query(sql);
}

export async function columnsOf(database: TestDatabase, table: string): Promise<unknown[]> {
  const { rows } = await database.client.query<{ name: string; type: string }>(
    `SELECT attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS required, attcollation::regcollation::text AS collation,
            CASE WHEN attgenerated <> '' THEN attgenerated::text || pg_get_expr(adbin, adrelid) END AS computed
       FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname`,
    [`public.${table}`],
  );
  return rows;
}

export async function rowsOf(database: TestDatabase, table: string): Promise<unknown[]> {
  const columns = (await columnsOf(database, table)) as { name: string }[];
  const { rows } = await database.client.query<Record<string, unknown>>(
    `SELECT ${columns.map(({ name }) => `"${name}"::text`).join(', ')} FROM ONLY public.${table} ORDER BY ${columns.map((_, index) => index + 1).join(', ')}`,
  );
  return rows;
}
