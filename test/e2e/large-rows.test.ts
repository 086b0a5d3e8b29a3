import { readFile } from 'node:fs/promises';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

const MIB = 1024 * 1024;
/** Characters that no compression takes away, several bytes of UTF-8 among them. */
const noise = (bytes: number): string =>
  `(SELECT string_agg(md5(n::text), 'é') FROM generate_series(1, ${Math.round(bytes / 34)}) n)`;

let source: TestDatabase;
let target: TestDatabase;
let folder: string;
let config: string;
const running = new Map<string, CliProcess>();

beforeAll(async () => {
  [source, target] = await Promise.all([createDatabase(15, 'large_source'), createDatabase(15, 'large_target')]);
  await source.client
    .query(`CREATE TABLE public.big (id int PRIMARY KEY, n int, body text); ALTER TABLE public.big ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE public.whole (id int PRIMARY KEY, body text); ALTER TABLE public.whole REPLICA IDENTITY FULL`);
  folder = await mkdtemp(path.join(tmpdir(), 'restage-large-'));
  config = path.join(folder, 'restage.yaml');
  await writeFile(
    config,
    `name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" } }
transform: { outputs: [{ name: main, rules: [{ table: public.big, columns: { rename: { n: number } } }] }] }
targets:
  - { name: new, postgres: { url: "${target.url}" }, schema: create }
`,
  );
});

afterAll(async () => {
  for (const one of running.values()) {
    one.kill('SIGTERM');
    await one.result(15_000).catch(() => undefined);
    await one[Symbol.asyncDispose]();
  }
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

test('rows of 2 and 12 MB arrive in pieces by snapshot and by stream, changed, unchanged and deleted, in bounded memory', async () => {
  await source.client.query(
    `INSERT INTO public.big VALUES (1, 1, ${noise(2 * MIB)}), (2, 1, ${noise(12 * MIB)}), (3, 1, 'small')`,
  );
  for (const args of [['producer'], ['transformer'], ['sink', '--target', 'new']])
    running.set(args[0] ?? '', startCli([...args, '-c', config]));
  await loadDone();
  await expectEqual('by snapshot');
  for (const [what, sql] of [
    [
      'inserts',
      `INSERT INTO public.big VALUES (4, 1, ${noise(2 * MIB)}), (5, 1, ${noise(12 * MIB)}); INSERT INTO public.whole VALUES (1, ${noise(2 * MIB)})`,
    ],
    ['values that did not change', 'UPDATE public.big SET n = 2'],
    ['updates', `UPDATE public.big SET body = body || 'x' WHERE id > 3; UPDATE public.whole SET body = body || 'x'`],
    ['keys that change', 'UPDATE public.big SET id = id + 10 WHERE id > 3'],
    ['deletes', 'DELETE FROM public.big WHERE id IN (1, 15); DELETE FROM public.whole'],
  ] as const) {
    await source.client.query(sql);
    const waited = await runCli(['wait', '-c', config, '--target', 'new', '--timeout', '200'], {}, 240_000);
    expect(
      waited,
      `${what}: ${waited.stdout}${[...running.values()].map((one) => one.stderr()).join('')}`,
    ).toMatchObject({ code: 0 });
    await expectEqual(what);
  }
  for (const [service, { pid }] of running)
    expect(await peakMiB(pid), `${service}'s largest resident set, MiB`).toBeLessThan(512);
}, 900_000);

async function expectEqual(what: string): Promise<void> {
  const digest = (table: string): string =>
    `SELECT id, md5(body) AS md5, length(body) AS length FROM public.${table} ORDER BY id`;
  for (const table of ['big', 'whole'])
    expect((await target.client.query(digest(table))).rows, what).toEqual(
      (await source.client.query(digest(table))).rows,
    );
}

/** Linux: "proc(5)", VmHWM. */
async function peakMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) / 1024;
}

async function loadDone(): Promise<void> {
  const isDone = async (): Promise<boolean> =>
    (await target.client.query('SELECT FROM restage.checkpoint WHERE load_done')).rowCount === 1;
  await until(isDone, { what: 'the load', timeoutMs: 240_000 }).catch((error: unknown) => {
    throw new Error([...running.values()].map((one) => one.stderr()).join(''), { cause: error });
  });
}
