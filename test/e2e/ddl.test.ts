import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { isLongRun, someOf } from '../harness/chaos/long-run.ts';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { stopRun, waitForTarget } from '../harness/pipeline-run.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

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

/** What a source's people may do in the middle of the stream, each followed by changes that show it. */
const STORY = [
  `ALTER TABLE public.item ADD COLUMN plain int;
   UPDATE public.item SET plain = id WHERE id <= 3`,
  `BEGIN;
   INSERT INTO public.item (id, name) VALUES (200, 'before');
   ALTER TABLE public.item ADD COLUMN filled numeric(8,2) NOT NULL DEFAULT 1.50;
   INSERT INTO public.item (id, name, filled) VALUES (201, 'after', 2.50);
   UPDATE public.item SET name = 'both' WHERE id IN (200, 201);
   COMMIT`,
  `ALTER TABLE public.item ADD COLUMN list text[] COLLATE "C" DEFAULT '{a,"b c"}';
   DELETE FROM public.item WHERE id = 5`,
  `ALTER TABLE public.item RENAME COLUMN name TO title;
   UPDATE public.item SET title = 'renamed' WHERE id = 6`,
  `ALTER TABLE public.item ALTER COLUMN title TYPE text COLLATE "C";
   UPDATE public.item SET title = repeat('long ', 10) WHERE id = 7`,
  `ALTER TABLE public.item DROP COLUMN gone;
   UPDATE public.item SET plain = 8 WHERE id = 8`,
  `ALTER TYPE public.mood ADD VALUE 'so-so' BEFORE 'sad'`,
  `UPDATE public.item SET mood = 'so-so' WHERE id = 9;
   ALTER TYPE public.mood ADD VALUE 'glad'`,
  `UPDATE public.item SET moods = '{glad,NULL,ok}' WHERE id = 10`,
  `ALTER TYPE public.mood RENAME TO humour;
   ALTER TABLE public.item ADD COLUMN gone int DEFAULT 7;
   UPDATE public.item SET gone = 8 WHERE id = 11`,
  `TRUNCATE public.heap;
   ALTER TABLE public.heap ADD COLUMN what text DEFAULT 'x';
   INSERT INTO public.heap VALUES (1, 'y'), (2, DEFAULT), (2, DEFAULT)`,
  `ALTER TABLE public.item REPLICA IDENTITY FULL;
   UPDATE public.item SET plain = 12 WHERE id = 12`,
  `ALTER TABLE public.keyed DROP CONSTRAINT keyed_pkey; ALTER TABLE public.keyed REPLICA IDENTITY FULL;
   UPDATE public.keyed SET n = 4 WHERE id = 1; DELETE FROM public.keyed WHERE id = 2; INSERT INTO public.keyed VALUES (4, NULL)`,
  `VACUUM FULL public.item`,
  `UPDATE public.item SET plain = 13 WHERE id = 13`,
] as const;

/** Columns that the stream does not carry; adding a stored one is a rewrite. */
const COMPUTED = [
  `ALTER TABLE public.item REPLICA IDENTITY DEFAULT;
   ALTER TABLE public.item ADD COLUMN twice int GENERATED ALWAYS AS (plain * 2) STORED, ADD COLUMN brief text GENERATED ALWAYS AS (left(title, 2)) STORED;
   UPDATE public.item SET plain = 14 WHERE id = 14`,
  `BEGIN;
   SAVEPOINT s;
   ALTER TABLE public.item ADD COLUMN loud text GENERATED ALWAYS AS (upper(title)) STORED NOT NULL;
   RELEASE s;
   UPDATE public.item SET plain = 15 WHERE id = 15;
   COMMIT`,
  `ALTER TABLE public.item RENAME COLUMN plain TO simple;
   UPDATE public.item SET simple = 16 WHERE id = 16`,
  `ALTER TABLE public.item ALTER COLUMN twice DROP EXPRESSION, DROP COLUMN brief;
   UPDATE public.item SET twice = 7 WHERE id = 17`,
  `BEGIN;
   ALTER TABLE public.item ADD COLUMN moment int GENERATED ALWAYS AS (1) STORED;
   SAVEPOINT s;
   ALTER TABLE public.item ADD COLUMN last text GENERATED ALWAYS AS (title || '!') STORED;
   DELETE FROM public.item WHERE id = 18;
   RELEASE s;
   ALTER TABLE public.item DROP COLUMN moment;
   COMMIT`,
] as const;
const COMPUTED_18 = [
  `ALTER TABLE public.item ADD COLUMN seen int GENERATED ALWAYS AS (simple + 1) VIRTUAL;
   UPDATE public.item SET simple = 19 WHERE id = 19`,
  `ALTER TABLE public.item ALTER COLUMN last SET EXPRESSION AS (title || '?');
   UPDATE public.item SET simple = 20 WHERE id = 20`,
] as const;

/** Of tables whose columns are those of another one, or of a type. */
const OWNED = [
  `ALTER TABLE public.part ADD COLUMN n int NOT NULL DEFAULT 3;
   UPDATE public.part SET n = 4 WHERE id = 1;
   CREATE TABLE public.part_3 PARTITION OF public.part FOR VALUES FROM (200) TO (300);
   INSERT INTO public.part VALUES (3, 'e', 5, 6), (201, 'e', 5, 7);
   DELETE FROM public.part WHERE id = 102`,
  `BEGIN;
   INSERT INTO public.part VALUES (4, 'f', 7);
   ALTER TABLE public.part RENAME COLUMN what TO why;
   ALTER TABLE public.part ADD COLUMN twice int GENERATED ALWAYS AS (n * 2) STORED;
   INSERT INTO public.part (id, why) VALUES (103, 'g');
   ALTER TABLE public.part DROP COLUMN gone;
   UPDATE public.part SET why = 'h' WHERE id IN (2, 101, 201);
   COMMIT`,
  `ALTER TYPE public.pair ADD ATTRIBUTE c int CASCADE;
   UPDATE public.typed SET c = 1 WHERE a = 1;
   UPDATE public.typed_too SET c = 2`,
  `ALTER TYPE public.pair RENAME ATTRIBUTE b TO d CASCADE;
   UPDATE public.typed SET d = 'e' WHERE a = 2;
   ALTER TYPE public.pair DROP ATTRIBUTE gone CASCADE;
   DELETE FROM public.typed WHERE a = 1;
   UPDATE public.typed_too SET d = 'f' WHERE a = 2`,
  // The heir's change comes first, then that of the table it inherits from.
  `ALTER TABLE public.parent DROP COLUMN gone, ALTER COLUMN v TYPE text, ADD COLUMN f int NOT NULL DEFAULT 4;
   ALTER TABLE public.parent RENAME COLUMN v TO w;
   UPDATE public.child SET w = 'seen', f = 5; UPDATE public.parent SET w = 'both' WHERE id = 1`,
] as const;

/** What is an heir no more keeps its column where the other one loses it. */
const DISOWNED = `
  ALTER TABLE public.child NO INHERIT public.parent; ALTER TABLE public.parent DROP COLUMN more;
  UPDATE ONLY public.parent SET w = 'alone'; UPDATE public.child SET more = 'kept' || more`;

/** What was added before a rewrite must have been seen: from then on the catalog no longer tells what the rows had. */
const REWRITE = STORY.findIndex((sql) => sql.startsWith('VACUUM FULL'));

interface Pipeline extends AsyncDisposable {
  readonly source: TestDatabase;
  readonly target: TestDatabase;
  readonly config: string;
}

async function open(
  versions: readonly [15 | 18, 15 | 18],
  schema: string,
  transform = '',
  onRewrite = 'stop',
): Promise<Pipeline> {
  const source = await createDatabase(versions[0], 'ddl_source');
  const target = await createDatabase(versions[1], 'ddl_target');
  const folder = await mkdtemp(path.join(tmpdir(), 'restage-ddl-'));
  const config = path.join(folder, 'restage.yaml');
  await source.client.query(START_SQL);
  await writeFile(
    config,
    `
name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, onRewrite: ${onRewrite} }
${transform}
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: ${schema} }]
`,
  );
  return {
    source,
    target,
    config,
    async [Symbol.asyncDispose]() {
      await source[Symbol.asyncDispose]();
      await target[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

test.each<[string, [15 | 18, 15 | 18], string]>([
  ['15 → 15, structure by pg_dump', [15, 15], 'copy'],
  ['18 → 18, structure as captured', [18, 18], 'create'],
])(
  'columns that change in the middle of the stream are followed in their place: %s',
  async (_what, versions, schema) => {
    await using pipeline = await open(versions, schema);
    const { source, target, config } = pipeline;
    await using first = startCli(['run', '-c', config]);
    await waitForTarget(config, first);
    for (const sql of STORY.slice(0, 7)) await execute(source, sql);
    await waitForTarget(config, first);
    await stopRun(first);
    // While nobody captures.
    for (const sql of STORY.slice(7, 10)) await execute(source, sql);
    await using second = startCli(['run', '-c', config]);
    await waitForTarget(config, second);
    for (const sql of STORY.slice(10)) await execute(source, sql);
    await waitForTarget(config, second);
    for (const sql of [OWNED[0], COMPUTED[0]]) await execute(source, sql);
    await waitForTarget(config, second);
    for (const sql of [...OWNED.slice(1), ...COMPUTED.slice(1), ...(versions[0] === 18 ? COMPUTED_18 : [])])
      await execute(source, sql);
    await waitForTarget(config, second);
    await execute(source, DISOWNED);
    await waitForTarget(config, second);
    for (const table of ['item', 'heap', 'keyed', 'parent', 'child', 'part_1', 'part_2', 'typed', 'typed_too']) {
      expect(await columnsOf(target, table)).toEqual(await columnsOf(source, table));
      expect(await rowsOf(target, table), table).toEqual(await rowsOf(source, table));
    }
    await untilSame(pipeline, second, 'a partition after its table got another column');
    const verified = await runCli(['verify', '-c', config, '--target', 'new']);
    expect(verified, verified.stderr).toMatchObject({ code: 0 });
    // The key that the source dropped is the target's still.
    await execute(source, 'INSERT INTO public.keyed VALUES (4, NULL)');
    const ended = await second.result();
    expect(ended, ended.stderr).toMatchObject({ code: 4 });
    expect(ended.stderr).toMatch(/target_constraint.*keyed/s);
  },
);

test('through a rule that renames and drops, columns are followed by their new names', async () => {
  const rule = `{ table: public.item, rename: public.thing, columns: { rename: { mood: humour }, drop: [secret] } }`;
  await using pipeline = await open([15, 15], 'copy', `transform: { outputs: [{ name: main, rules: [${rule}] }] }`);
  const { source, target, config } = pipeline;
  await using run = startCli(['run', '-c', config]);
  await waitForTarget(config, run);
  for (const sql of STORY.slice(0, REWRITE)) await execute(source, sql);
  await waitForTarget(config, run);
  for (const sql of STORY.slice(REWRITE)) await execute(source, sql);
  await waitForTarget(config, run);
  await source.client.query(
    `ALTER TABLE public.item ALTER COLUMN secret TYPE varchar; UPDATE public.item SET secret = 't'`,
  );
  await waitForTarget(config, run);
  const select = (mood: string): string =>
    `SELECT md5(ROW(id, title, ${mood}, moods, plain, filled, list, gone)::text) AS row`;
  const [from, to] = await Promise.all([
    source.client.query(`${select('mood')} FROM public.item ORDER BY 1`),
    target.client.query(`${select('humour')} FROM public.thing ORDER BY 1`),
  ]);
  expect(to.rows).toEqual(from.rows);
  expect(to.rows.length).toBeGreaterThan(90);
  await execute(source, 'ALTER TABLE public.item RENAME TO article');
  const ended = await run.result(60_000);
  expect(ended.code).toBe(4);
  expect(ended.stderr).toMatch(
    /a table that rules name was renamed at the source.*public\.item is public\.article now/s,
  );
});

const UNTOLD: readonly [string, string, string][] = [
  ['a type whose values are computed anew', `ALTER TABLE public.item ALTER COLUMN id TYPE bigint USING id * 2`, 'id'],
  [
    'a column with a default of its own for every row',
    `ALTER TABLE public.item ADD COLUMN at float8 DEFAULT random()`,
    'at',
  ],
  ['another name for the table', `ALTER TABLE public.item RENAME TO article`, 'article'],
];

test.each(someOf(UNTOLD, 1))(
  'with onRewrite: stop, what the stream does not tell stops loudly and is never guessed: %s',
  async (_what, sql, named) => {
    await using pipeline = await open([15, 15], 'copy');
    const { source, target, config } = pipeline;
    await using run = startCli(['run', '-c', config]);
    await waitForTarget(config, run);
    const before = await rowsOf(target, 'item');
    await execute(source, sql);
    const table = named === 'article' ? 'article' : 'item';
    await execute(source, `DELETE FROM public.${table} WHERE name = 'n50'`);
    const ended = await run.result();
    expect(ended.code).toBe(4);
    expect(ended.stderr).toMatch(/ddl_unsupported/);
    expect(ended.stderr).toContain(named);
    expect(await rowsOf(target, 'item')).toEqual(before);
  },
);

/** Other names, each followed by what shows it, or by nothing. */
const RENAMES = [
  `ALTER TABLE public.item RENAME TO article; UPDATE public.article SET name = 'renamed' WHERE id = 1`,
  `ALTER TABLE public.heap RENAME TO pile`,
  `ALTER TYPE public.mood RENAME VALUE 'sad' TO 'blue, "sad"'; INSERT INTO public.article (id, mood) VALUES (301, 'blue, "sad"')`,
  `CREATE SCHEMA shop;
   BEGIN; DELETE FROM public.article WHERE id = 2; ALTER TABLE public.article SET SCHEMA shop; ALTER TABLE shop.article ADD COLUMN more int DEFAULT 7;
   ALTER TABLE shop.article DROP COLUMN gone; INSERT INTO shop.article (id, more) VALUES (300, 8); COMMIT`,
  `BEGIN; ALTER TABLE shop.article RENAME TO article_old; CREATE TABLE shop.article (LIKE shop.article_old INCLUDING ALL);
   INSERT INTO shop.article SELECT * FROM shop.article_old; UPDATE shop.article SET name = 'copied'; COMMIT`,
  `BEGIN; ALTER TABLE public.one RENAME TO x; ALTER TABLE public.two RENAME TO one; ALTER TABLE public.x RENAME TO two; COMMIT;
   UPDATE public.one SET t = t || '!'; UPDATE public.two SET t = t || '?' WHERE id = 1`,
  `ALTER TABLE public.two RENAME TO three; ALTER TABLE public.three RENAME TO two; DELETE FROM public.two WHERE id = 2`,
] as const;

const REMADE = `DROP TABLE public.pile; CREATE TABLE public.pile (n int PRIMARY KEY, what text); INSERT INTO public.pile VALUES (1, 'another table')`;

test.each(
  someOf<readonly [string, 15 | 18, string]>(
    [
      ['15, structure by pg_dump', 15, 'copy'],
      ['18, structure as captured', 18, 'create'],
    ],
    1,
  ),
)(
  'tables under other names, and other tables under their names, are followed: %s',
  async (_what, version, schema) => {
    await using pipeline = await open([version, version], schema, '', 'snapshot');
    const { source, target, config } = pipeline;
    await execute(
      source,
      `CREATE TABLE public.ref (id int PRIMARY KEY, item int REFERENCES public.item); INSERT INTO public.ref VALUES (1, 1);
       CREATE TABLE public.one (id int PRIMARY KEY, t text); CREATE TABLE public.two (id int PRIMARY KEY, t text);
       INSERT INTO public.one VALUES (1, 'a'), (2, 'b'); INSERT INTO public.two VALUES (1, 'c'), (2, 'd')`,
    );
    await using run = startCli(['run', '-c', config]);
    await waitForTarget(config, run);
    // Each waits for a load of its own.
    for (const sql of isLongRun() ? RENAMES : RENAMES.slice(0, 5)) {
      await execute(source, sql);
      await untilSame(pipeline, run, sql);
    }
    await waitForTarget(config, run);
    expect(await tablesOf(target)).toEqual(await tablesOf(source));
    const verified = await runCli(['verify', '-c', config, '--target', 'new']);
    expect(verified, verified.stderr).toMatchObject({ code: 0 });
    // The publication lost the old one: whoever knows that says so, and the table is loaded again.
    await execute(source, REMADE);
    const ended = await run.result(60_000);
    expect(ended.code).toBe(4);
    expect(ended.stderr).toMatch(/publication_altered.*public\.pile/s);
    // The producer may have put it in before it met what it lost.
    const isIn = await source.client.query(`SELECT FROM pg_publication_rel WHERE prrelid = 'public.pile'::regclass`);
    if (isIn.rowCount === 0) await execute(source, `ALTER PUBLICATION "restage_${source.name}" ADD TABLE public.pile`);
    expect(await runCli(['accept', '-c', config])).toMatchObject({ code: 0 });
    await using second = startCli(['run', '-c', config]);
    await untilSame(pipeline, second, REMADE);
    await stopRun(second);
  },
  300_000,
);

async function untilSame({ source, target }: Pipeline, run: CliProcess, what: string): Promise<void> {
  const isSame = async (): Promise<boolean> => {
    if (run.hasEnded()) throw new Error(run.stderr());
    return (await findDifferences(source.url, target.url)).length === 0;
  };
  await until(isSame, { what: `the target after ${what}`, timeoutMs: 90_000 }).catch(async (error: unknown) => {
    expect(await findDifferences(source.url, target.url), `${what}\n${run.stderr()}`).toEqual([]);
    throw error;
  });
}

test('with the event trigger of check, rows computed anew under the same columns are noticed', async () => {
  await using pipeline = await open([15, 15], 'copy');
  const { source, target, config } = pipeline;
  const checked = await runCli(['check', '-c', config, '--json']);
  const { findings } = JSON.parse(checked.stdout) as { findings: { id: string; fix: string }[] };
  await execute(source, findings.find(({ id }) => id === 'source.rewrite_trigger')?.fix ?? '');
  expect((await runCli(['check', '-c', config])).stdout).not.toContain('rewrite_trigger');
  await using run = startCli(['run', '-c', config]);
  await waitForTarget(config, run);
  await execute(source, 'VACUUM FULL public.item');
  await execute(source, 'UPDATE public.item SET secret = NULL WHERE id = 1');
  await waitForTarget(config, run);
  const before = await rowsOf(target, 'item');
  await execute(source, 'ALTER TABLE public.item ALTER COLUMN id TYPE int USING id * 2');
  const ended = await run.result();
  expect(ended.code).toBe(4);
  expect(ended.stderr).toMatch(/ddl_unsupported.*rewritten/);
  expect(await rowsOf(target, 'item')).toEqual(before);
});

/** With what their foreign keys refer to, where the target has those. */
async function tablesOf(database: TestDatabase): Promise<unknown[]> {
  const { rows } = await database.client.query(
    `SELECT c.oid::regclass::text AS table FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'r' AND n.nspname IN ('public', 'shop') ORDER BY 1`,
  );
  return rows;
}

async function execute(database: TestDatabase, sql: string): Promise<void> {
  await database.client.query(sql);
}

async function columnsOf(database: TestDatabase, table: string): Promise<unknown[]> {
  const { rows } = await database.client.query<{ name: string; type: string }>(
    `SELECT attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS required, attcollation::regcollation::text AS collation,
            CASE WHEN attgenerated <> '' THEN attgenerated::text || pg_get_expr(adbin, adrelid) END AS computed
       FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname`,
    [`public.${table}`],
  );
  return rows;
}

async function rowsOf(database: TestDatabase, table: string): Promise<unknown[]> {
  const columns = (await columnsOf(database, table)) as { name: string }[];
  const { rows } = await database.client.query<Record<string, unknown>>(
    `SELECT ${columns.map(({ name }) => `"${name}"::text`).join(', ')} FROM ONLY public.${table} ORDER BY ${columns.map((_, index) => index + 1).join(', ')}`,
  );
  return rows;
}
