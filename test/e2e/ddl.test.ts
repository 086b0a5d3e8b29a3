import { isDeepStrictEqual } from 'node:util';
import { expect, test } from 'vitest';
import { isLongRun } from '../harness/chaos/long-run.ts';
import { columnsOf, execute, openAltered, rowsOf, untilSame } from '../harness/altered-pipeline.ts';
import { runCli, startCli } from '../harness/cli.ts';
import type { PipelinePair } from '../harness/pipeline-pair.ts';
import { stopRun, waitForTarget } from '../harness/pipeline-run.ts';

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

const INHERITED = `
  ALTER TABLE public.child INHERIT public.parent; UPDATE ONLY public.parent SET w = 'with heirs'; UPDATE public.child SET own = 'heir';
  INSERT INTO public.child (id, w, f) VALUES (3, 'new', 1); ALTER TABLE public.child NO INHERIT public.parent; DELETE FROM public.parent WHERE id = 1;
  UPDATE public.child SET own = 'alone' WHERE id = 3`;

/** What was added before a rewrite must have been seen: from then on the catalog no longer tells what the rows had. */
const REWRITE = STORY.findIndex((sql) => sql.startsWith('VACUUM FULL'));

const SHOW_SILENT = `
  UPDATE public.item SET silent = 6 WHERE id = 21; INSERT INTO public.heap VALUES (3, 'z'); UPDATE public.part SET silent = 's' WHERE id IN (1, 103, 201);
  UPDATE public.typed_too SET silent = 3; UPDATE public.typed SET silent = 4`;
/** Without a change of any row. */
const SILENT = [
  `ALTER TABLE public.item ADD COLUMN silent int NOT NULL DEFAULT 5, DROP COLUMN secret`,
  `BEGIN; ALTER TABLE public.heap RENAME COLUMN what TO why; SAVEPOINT s; ALTER TABLE public.heap ADD COLUMN moment int; ROLLBACK TO s; COMMIT`,
  `ALTER TABLE public.part ADD COLUMN silent text DEFAULT 'for all'; ALTER TYPE public.pair ADD ATTRIBUTE silent int CASCADE`,
] as const;

const UNTOLD = [
  ['a type whose values are computed anew', `ALTER TABLE public.item ALTER COLUMN id TYPE bigint USING id * 2`, 'id'],
  [
    'a column with a default of its own for every row',
    `ALTER TABLE public.item ADD COLUMN at float8 DEFAULT random()`,
    'at',
  ],
  ['another name for the table', `ALTER TABLE public.item RENAME TO article`, 'article'],
] as const;

test.each<[string, [15 | 18, 15 | 18], string, 'auto' | 'off']>([
  ['15 → 15, structure by pg_dump, without event triggers', [15, 15], 'copy', 'off'],
  ['18 → 18, structure as captured, with event triggers', [18, 18], 'create', 'auto'],
])(
  'columns that change in the middle of the stream are followed in their place: %s',
  async (_what, versions, schema, trigger) => {
    await using pipeline = await openAltered(versions, schema, '', `onRewrite: stop, ddlTrigger: ${trigger}`);
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
    // An heir again, and what it is told of both.
    await execute(source, INHERITED);
    for (const sql of SILENT) await execute(source, sql);
    await waitForTarget(config, second);
    const silent = ['item', 'heap', 'part_1', 'part_3', 'typed', 'typed_too'];
    const isTold: boolean[] = [];
    for (const table of silent)
      isTold.push(isDeepStrictEqual(await columnsOf(source, table), await columnsOf(target, table)));
    expect(isTold).toEqual(silent.map(() => trigger === 'auto'));
    if (trigger === 'off') await execute(source, SHOW_SILENT);
    await waitForTarget(config, second);
    for (const table of [...silent, 'parent', 'child']) {
      expect(await columnsOf(target, table)).toEqual(await columnsOf(source, table));
      expect(await rowsOf(target, table), table).toEqual(await rowsOf(source, table));
    }
    const verified = await runCli(['verify', '-c', config, '--target', 'new']);
    expect(verified, verified.stderr).toMatchObject({ code: 0 });
    // The key that the source dropped is the target's still.
    await execute(source, 'INSERT INTO public.keyed VALUES (4, NULL)');
    const ended = await second.result();
    expect(ended, ended.stderr).toMatchObject({ code: 4 });
    expect(ended.stderr).toMatch(/target_constraint.*keyed/s);
    await expectUntold(pipeline, UNTOLD_FILL);
  },
);

/** What an emptied table's next file tells is no rewrite. */
const UNTOLD_FILL = `
  TRUNCATE public.item; INSERT INTO public.item (id, title) SELECT g, 't' FROM generate_series(1, 100) g;
  ALTER TABLE public.item ADD COLUMN at float8 DEFAULT random()`;

/** Where nothing follows it. */
async function expectUntold({ source, target, config }: PipelinePair, sql: string): Promise<void> {
  const before = await rowsOf(target, 'item');
  await execute(source, sql);
  await execute(source, `DELETE FROM public.item WHERE id = 100`);
  await using producer = startCli(['producer', '-c', config]);
  const ended = await producer.result();
  expect(ended, ended.stderr).toMatchObject({ code: 4 });
  expect(ended.stderr).toMatch(/ddl_unsupported.*public\.item/s);
  expect(await rowsOf(target, 'item')).toEqual(before);
}

test('through a rule that renames and drops, columns are followed by their new names', async () => {
  const rule = `{ table: public.item, rename: public.thing, columns: { rename: { mood: humour }, drop: [secret] } }`;
  await using pipeline = await openAltered(
    [15, 15],
    'copy',
    `transform: { outputs: [{ name: main, rules: [${rule}] }] }`,
  );
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

test.runIf(isLongRun()).each(UNTOLD)(
  'with onRewrite: stop, what the stream does not tell stops loudly and is never guessed: %s',
  async (_what, sql, named) => {
    await using pipeline = await openAltered([15, 15], 'copy');
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

test.each([
  ['with the event triggers that check prints, at once', true],
  ['without event triggers, with the next change', false],
])('rows computed anew under the same columns are noticed: %s', async (_when, isTold) => {
  await using pipeline = await openAltered([15, 15], 'copy', '', 'onRewrite: stop, ddlTrigger: off');
  const { source, target, config } = pipeline;
  if (isTold) {
    const checked = await runCli(['check', '-c', config, '--json']);
    const { findings } = JSON.parse(checked.stdout) as { findings: { id: string; fix: string }[] };
    await execute(source, findings.find(({ id }) => id === 'source.rewrite_trigger')?.fix ?? '');
    expect((await runCli(['check', '-c', config])).stdout).not.toContain('rewrite_trigger');
  }
  await using run = startCli(['run', '-c', config]);
  await waitForTarget(config, run);
  await execute(source, 'VACUUM FULL public.item');
  await execute(source, 'UPDATE public.item SET secret = NULL WHERE id = 1');
  await waitForTarget(config, run);
  const before = await rowsOf(target, 'item');
  await execute(source, 'ALTER TABLE public.item ALTER COLUMN id TYPE int USING id * 2');
  if (!isTold) await execute(source, `UPDATE public.item SET secret = 'seen' WHERE id = 2`);
  const ended = await run.result();
  expect(ended.code).toBe(4);
  expect(ended.stderr).toMatch(/ddl_unsupported.*rewritten/);
  expect(await rowsOf(target, 'item')).toEqual(before);
});
