import { expect, test } from 'vitest';
import { readAudit } from '../harness/audit.ts';
import { isLongRun, someOf } from '../harness/chaos/long-run.ts';
import { execute, openAltered, untilSame } from '../harness/altered-pipeline.ts';
import { runCli, startCli } from '../harness/cli.ts';
import type { TestDatabase } from '../harness/database.ts';
import { stopRun, waitForTarget } from '../harness/pipeline-run.ts';

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
    await using pipeline = await openAltered(
      [version, version],
      schema,
      '',
      'onRewrite: snapshot, heartbeatMs: 600000',
    );
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
    expect((await readAudit(target, source.name.replaceAll('_', '-'))).at(-1)).toMatch(/^accept publication=restage_/);
    await using second = startCli(['run', '-c', config]);
    await untilSame(pipeline, second, REMADE);
    await stopRun(second);
  },
  300_000,
);

/** With what their foreign keys refer to, where the target has those. */
async function tablesOf(database: TestDatabase): Promise<unknown[]> {
  const { rows } = await database.client.query(
    `SELECT c.oid::regclass::text AS table FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'r' AND n.nspname IN ('public', 'shop') ORDER BY 1`,
  );
  return rows;
}
