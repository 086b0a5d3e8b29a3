import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type pg from 'pg';
import { from } from 'pg-copy-streams';
import { expect, test } from 'vitest';
import { quoteIdentifier, quoteTable, type TableName } from '#core/table-name.ts';
import { NAMES, RENAMED, WILD_TABLES } from '../corpus/names.ts';
import type { CorpusPart } from '../corpus/part.ts';
import { SHAPES, SHAPES_18 } from '../corpus/shapes.ts';
import { COPIED, STATEMENTS } from '../corpus/statements.ts';
import { MADE_BY_CREATE, REFERENCED_FUNCTION_SQL, REFERENCED_SQL, TYPES_SQL } from '../corpus/types.ts';
import { KEY_TABLES, keyTables, valueTables } from '../corpus/value-tables.ts';
import { isLongRun } from '../harness/chaos/long-run.ts';
import { runCli, startCli } from '../harness/cli.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { setHostileDefaults } from '../harness/hostile-defaults.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

interface CorpusTarget {
  readonly name: string;
  readonly database: TestDatabase;
  readonly schema: 'copy' | 'create' | 'require';
}

const LIMIT_MS = 240_000;
/** As a target of `schema: require` has it: other order, other columns beside. */
const REARRANGED_SQL = `
  DROP TABLE public.events;
  CREATE TABLE public.events (mine text NOT NULL DEFAULT 'mine', n numeric, extra serial, t text, id int8 PRIMARY KEY, at timestamptz DEFAULT now());
  ALTER TABLE ${quoteTable(RENAMED.table)} RENAME COLUMN ${quoteIdentifier(RENAMED.from)} TO ${quoteIdentifier(RENAMED.to)};
`;
const RENAMING = { table: RENAMED.table, columns: new Map([[RENAMED.from, RENAMED.to]]) };
/** Keys whose equality or input is not found without their schema: `verify` looks single rows up by them. */
const ODD_KEYS = ['.ltree', '.hstore', 'corpus.pair', '"char"', 'regclass'] as const;
const UNCHANGED = [WILD_TABLES[0], { schema: 'public', table: 'keyed_values' }, { schema: '__proto__', table: 'b.c' }];

test(
  'every value and every table shape, from 15 to 15 and to 18',
  async () => {
    await using source = await createDatabase(15, 'corpus_source');
    await using copied = await createDatabase(15, 'corpus_copied');
    await using created = await createDatabase(18, 'corpus_created');
    const parts = [valueTables(15), keyTables(), ...SHAPES, NAMES, STATEMENTS];
    await makeSource(source, parts);
    await prepareCreate(created);
    await run(
      source,
      [
        { name: 'copied', database: copied, schema: 'copy' },
        { name: 'created', database: created, schema: 'create' },
      ],
      parts,
      '',
      async (config) => {
        const tampered = KEY_TABLES.filter(({ table }) => ODD_KEYS.some((type) => table.endsWith(type)));
        for (const table of tampered) await copied.client.query(`UPDATE ${quoteTable(table)} SET note = 'other'`);
        const { code, stdout } = await runCli(['verify', '-c', config, '--target', 'copied', '--json']);
        const report = JSON.parse(stdout) as { tables: { table: TableName; different: unknown[] }[] };
        const found = report.tables.filter((table) => table.different.length > 0).map(({ table }) => table);
        expect({ code, found }).toEqual({ code: 1, found: expect.arrayContaining(tampered) as unknown });
        expect(found).toHaveLength(ODD_KEYS.length);
      },
    );
  },
  LIMIT_MS,
);

test.runIf(isLongRun())(
  'every value and every table shape, from 18 to 18',
  async () => {
    await using source = await createDatabase(18, 'corpus_source');
    await using created = await createDatabase(18, 'corpus_created');
    const parts = [valueTables(18), keyTables(), ...SHAPES, SHAPES_18, STATEMENTS];
    await makeSource(source, parts);
    await prepareCreate(created);
    await run(source, [{ name: 'created', database: created, schema: 'create' }], parts, '');
  },
  LIMIT_MS,
);

test.runIf(isLongRun())(
  'through rules that change nothing and one that renames a wild column, to tables made by others too',
  async () => {
    await using source = await createDatabase(15, 'corpus_source');
    await using copied = await createDatabase(15, 'corpus_copied');
    await using required = await createDatabase(15, 'corpus_required');
    const parts = [valueTables(15), NAMES, STATEMENTS];
    await makeSource(source, parts);
    await required.client.query(TYPES_SQL + REFERENCED_SQL);
    await required.client.query(`SET search_path = public, corpus, "Ext.Schema"`);
    for (const part of parts) await required.client.query(part.tables);
    await required.client.query(REARRANGED_SQL);
    const rules = [
      { table: quoteTable(RENAMED.table), columns: { rename: { [RENAMED.from]: RENAMED.to } } },
      ...UNCHANGED.flatMap((table) => (table === undefined ? [] : { table: quoteTable(table) })),
    ];
    await run(
      source,
      [
        { name: 'copied', database: copied, schema: 'copy' },
        { name: 'required', database: required, schema: 'require' },
      ],
      parts,
      `transform: { outputs: [{ name: main, version: 1, rules: ${JSON.stringify(rules)} }] }`,
    );
    const { rows } = await required.client.query(
      'SELECT pg_catalog.count(*) = pg_catalog.count(DISTINCT extra) AND min(extra) >= 1 AS filled, bool_and(mine = $1 AND at IS NOT NULL) AS mine FROM public.events',
      ['mine'],
    );
    expect(rows).toEqual([{ filled: true, mine: true }]);
  },
  LIMIT_MS,
);

/** The session keeps its own settings; every later one gets the hostile defaults. */
async function makeSource(source: TestDatabase, parts: readonly CorpusPart[]): Promise<void> {
  await source.client.query(TYPES_SQL + REFERENCED_SQL);
  await source.client.query(`SET search_path = public, corpus, "Ext.Schema"`);
  for (const part of parts) {
    await source.client.query(part.tables);
    await source.client.query(part.rows);
  }
}

/** Types that events cannot tell have to be there; enums are made. */
async function prepareCreate(target: TestDatabase): Promise<void> {
  await target.client.query(TYPES_SQL + REFERENCED_FUNCTION_SQL);
  await target.client.query(`DROP TYPE ${MADE_BY_CREATE.join(', ')}`);
}

/** Runs the pipeline, compares after the load and again after the changes, and lets `verify` judge the first target. */
async function run(
  source: TestDatabase,
  targets: readonly CorpusTarget[],
  parts: readonly CorpusPart[],
  transform: string,
  after: (config: string) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'restage-corpus-'));
  const config = path.join(folder, 'restage.yaml');
  const list = targets.map(
    ({ name, database, schema }) => `  - { name: ${name}, postgres: { url: "${database.url}" }, schema: ${schema} }\n`,
  );
  await writeFile(
    config,
    `name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" } }
${transform}
targets:
${list.join('')}`,
  );
  const renamings = transform === '' ? [] : [RENAMING];
  for (const database of [source, ...targets.map((target) => target.database)]) await setHostileDefaults(database);
  await using pipeline = startCli(['run', '-c', config]);
  try {
    for (const { name, database } of targets) {
      await until(
        async () =>
          pipeline.hasEnded() ||
          (await database.client.query('SELECT FROM restage.checkpoint WHERE load_done')).rowCount === 1,
        { what: `the load of ${name}`, timeoutMs: 120_000 },
      );
      expect(
        await findDifferences(source.url, database.url, renamings),
        `${name} after the load\n${pipeline.stderr()}`,
      ).toEqual([]);
    }
    for (const part of parts) for (const change of part.changes) await source.client.query(change);
    if (parts.includes(STATEMENTS)) await copyIn(source.client);
    for (const { name, database } of targets) {
      const waited = await runCli(['wait', '-c', config, '--target', name, '--timeout', '60']);
      expect(waited, pipeline.stderr()).toMatchObject({ code: 0 });
      expect(await findDifferences(source.url, database.url, renamings), `${name} after the changes`).toEqual([]);
    }
    const verified = await runCli(['verify', '-c', config, '--target', targets[0]?.name ?? '']);
    expect(verified).toMatchObject({ code: 0 });
    await after(config);
    expect(await pipeline.drain()).toMatchObject({ code: 0 });
  } finally {
    await pipeline.drain();
    await rm(folder, { recursive: true, force: true });
  }
}

async function copyIn(client: pg.Client): Promise<void> {
  const stream = client.query(from(`COPY ${COPIED.table} FROM STDIN`));
  stream.end(COPIED.lines);
  await once(stream, 'finish');
}
