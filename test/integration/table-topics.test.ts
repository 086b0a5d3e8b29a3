import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { findGround } from '#core/ground.ts';
import { runCli, startCli } from '../harness/cli.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { createDatabase } from '../harness/database.ts';
import { stopRun, waitForTarget } from '../harness/pipeline-run.ts';
import { testKafka } from '../harness/servers.ts';
import { openTestPool } from '../harness/test-pool.ts';
import { findTraces } from '../harness/traces.ts';

/** More than are asked for at once, so that some are there and others are not. */
const TABLES = 520;
let folder: string;

vi.setConfig({ testTimeout: 120_000 });

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'restage-topics-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

test.each([
  ['some are made and not remembered', 'before=kill:1'],
  ['some are remembered and others made', 'before=kill:2'],
])(
  'killed while topics are made beside the load (%s), the producer makes the others and loses nothing',
  async (_, at) => {
    await using source = await createDatabase(15, 'topics_source');
    await using target = await createDatabase(15, 'topics_target');
    const name = source.name.replaceAll('_', '-');
    const config = await writeConfig(name, source.url, target.url);
    await source.client.query(`DO $$ BEGIN FOR i IN 1..${TABLES} LOOP
    EXECUTE format('CREATE TABLE public.t%s (id int PRIMARY KEY, n int)', i);
    EXECUTE format('INSERT INTO public.t%s VALUES (1, %s)', i, i); END LOOP; END $$`);
    await using sink = startCli(['sink', '-c', config, '--target', 'new']);
    await using first = startCli(['producer', '-c', config], { RESTAGE_FAILPOINTS: `producer.tableTopics.${at}` });
    expect(await first.result(60_000)).toMatchObject({ signal: 'SIGKILL' });
    await source.client.query(`
    UPDATE public.t1 SET n = 0; DELETE FROM public.t2; TRUNCATE public.t${TABLES}; INSERT INTO public.t${TABLES} VALUES (2, 2);
    UPDATE public.t${TABLES - 1} SET id = 7; DROP TABLE public.t${TABLES - 2}`);
    await using producer = startCli(['producer', '-c', config]);
    await waitForTarget(config, producer);
    expect(await findDifferences(source.url, target.url), producer.stderr()).toEqual([]);
    const remembered = await rememberedTopics(name);
    const dropped = TABLES - 2;
    const captured = Array.from({ length: TABLES }, (__, index) => index + 1).filter((number) => number !== dropped);
    expect(captured.filter((number) => !remembered.has(`${name}.public.t${number}`))).toEqual([]);
    await stopRun(producer);
    await stopRun(sink);
    expect(await runCli(['teardown', '-c', config, '--yes'])).toMatchObject({ code: 0 });
    expect((await findTraces(source.url, target.url, name)).topics).toEqual([]);
  },
);

async function writeConfig(name: string, source: string, target: string): Promise<string> {
  const file = path.join(folder, `${name}.yaml`);
  await writeFile(
    file,
    `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source}" }, keepSnapshotMinutes: 0 }
targets: [{ name: new, postgres: { url: "${target}" }, schema: create }]
`,
  );
  return file;
}

/** Topics that the pipeline knows as its own. */
async function rememberedTopics(name: string): Promise<ReadonlySet<string>> {
  await using pool = openTestPool();
  const ground = findGround(await readCompacted(pool, `${name}.schemas`));
  return new Set(Object.keys(ground?.topics ?? {}));
}
