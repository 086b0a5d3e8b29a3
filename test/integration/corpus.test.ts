import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { NAMES } from '../corpus/names.ts';
import type { CorpusPart } from '../corpus/part.ts';
import { SHAPES, SHAPES_18 } from '../corpus/shapes.ts';
import { STATEMENTS } from '../corpus/statements.ts';
import { TYPES_SQL } from '../corpus/types.ts';
import { keyTables, REFERENCED_SQL, valueTables } from '../corpus/value-tables.ts';
import { runCli, startCli } from '../harness/cli.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { createDatabase } from '../harness/database.ts';
import { setHostileDefaults } from '../harness/hostile-defaults.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

function parts(version: 15 | 18): CorpusPart[] {
  const all = [valueTables(version), keyTables(), ...SHAPES, NAMES, STATEMENTS, ...(version === 18 ? [SHAPES_18] : [])];
  const only = process.env['CORPUS_ONLY'];
  return only === undefined ? all : only.split(',').map((n) => all[Number(n)]!);
}

const FIRST = Number(process.env['CORPUS_V'] ?? 15) as 15 | 18;
test('spike', async () => {
  await using source = await createDatabase(FIRST, 'corpus_source');
  await using target = await createDatabase(Number(process.env['CORPUS_T'] ?? FIRST) as 15, 'corpus_target');
  const how = process.env['CORPUS_HOW'] ?? 'copy';
  const folder = await mkdtemp(path.join(tmpdir(), 'restage-corpus-'));
  const config = path.join(folder, 'c.yaml');
  await writeFile(
    config,
    `
name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" } }
targets:
  - { name: new, postgres: { url: "${target.url}" }, schema: ${how} }
`,
  );
  const all = parts(FIRST);
  await source.client.query(TYPES_SQL);
  await source.client.query(REFERENCED_SQL);
  await source.client.query(`SET search_path = public, corpus, "Ext.Schema"`);
  for (const part of all) await source.client.query(part.tables);
  for (const part of all) await source.client.query(part.rows);
  if (how === 'create') {
    await target.client.query(TYPES_SQL);
    await target.client
      .query(`DROP TYPE corpus._under, corpus."Odd (10) [] Name", corpus.a23456789b23456789c23456789d23456789e23456789f23456789g23456789;
      CREATE FUNCTION corpus."Fn"(int4, corpus.pair) RETURNS int4 LANGUAGE sql AS 'SELECT 1'`);
  }
  await setHostileDefaults(source);
  await setHostileDefaults(target);
  const t0 = Date.now();
  const run = startCli(['run', '-c', config]);
  try {
    await until(
      async () => {
        if (
          run.stderr() !== '' &&
          (await Promise.race([
            run.result(100).then(
              () => true,
              () => false,
            ),
          ]))
        )
          return true;
        if (/needs a person|gave up|fault|"fatal"|ERROR/.test(run.stderr())) return true;
        return (await target.client.query(`SELECT FROM restage.checkpoint WHERE load_done`)).rowCount === 1;
      },
      { what: 'load', timeoutMs: 60000 },
    );
    console.log('load', Date.now() - t0);
    console.log((await findDifferences(source.url, target.url)).join('\n'));
    for (const part of all)
      for (const sql of part.changes)
        await source.client.query(sql).catch((e) => {
          console.log('SOURCE', e.message, sql.slice(0, 200), e.position, e.where);
          return source.client.query('ROLLBACK');
        });
    const w = await runCli(['wait', '-c', config, '--target', 'new', '--lsn', 'current', '--timeout', '15']);
    console.log('stream', Date.now() - t0, w.code, w.stderr);
    console.log((await findDifferences(source.url, target.url)).join('\n'));
    if (w.code !== 0) return;
    const v = await runCli(['verify', '-c', config, '--target', 'new']);
    console.log('verify', Date.now() - t0, v.code, v.code ? v.stdout + v.stderr : '');
  } finally {
    console.log(
      (run.stdout() + run.stderr())
        .split('\n')
        .filter((l) => /level":[456]/.test(l))
        .slice(0, 3)
        .join('\n')
        .slice(0, 6000),
    );
    await run[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  }
});
