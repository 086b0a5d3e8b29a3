import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findManifest } from '#adapters/kafka/find-manifest.ts';
import { pause } from '#core/backoff.ts';
import type { Config } from '#core/config.ts';
import { parseLsn } from '#core/lsn.ts';
import { readConfig } from '../../services/cli/config-file.ts';
import { openControlPool } from '../../services/cli/control-topic.ts';
import type { PipelineStatus } from '../../services/cli/status-report.ts';
import { readAudit } from '../harness/audit.ts';
import { someOf } from '../harness/chaos/long-run.ts';
import { runCli } from '../harness/cli.ts';
import { runCommand } from '../harness/command.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { emptyTopic, openAdmin } from '../harness/kafka-admin.ts';
import { HISTORY, TABLES } from '../harness/replay-history.ts';
import { startService, type RunningService } from '../harness/run-service.ts';
import { testKafka } from '../harness/servers.ts';
import { cloneOf, hashesOf, rowsOf, tablesOf } from '../harness/table-rows.ts';
import { until } from '../harness/until.ts';

let source: TestDatabase;
let folder: string;
let name: string;
let producer: RunningService;
/** Between tests: a target that has all of the history, and one that was made of it later. */
let first: TestDatabase;
let second: TestDatabase;
const databases: TestDatabase[] = [];
let mark = 0;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'restage-replay-'));
  source = await newDatabase('source', 15);
  name = source.name.replaceAll('_', '-');
  await source.client.query(TABLES);
  [first, second] = [await newDatabase('first', 15), await newDatabase('second', 18)];
  producer = startService('producer', await configOf('producer', []));
});

afterAll(async () => {
  await producer.drain();
  for (const database of databases) await database[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

test('a target that comes later replays the kept history by itself, while the live pipeline goes on', async () => {
  const live = await configOf('live', [line('first', first)]);
  await using sink = startService('sink', live, 'first');
  await arrive(first);
  for (const sql of HISTORY) await commit(sql);
  await until(async () => (await tablesOf(first.client)).includes('public.later'), {
    what: 'the new table at the target',
  });
  await arrive(first);
  await using traffic = startTraffic();
  const both = await write('both', [line('first', first), line('second', second)]);
  const replay = ['replay', '-c', both, '--target', 'second', '--from', 'beginning'];
  expect(await restage(0, ...replay)).toMatch(/rows of the load and \d+ changes in .* restage sink goes on from there/);
  expect(await readAudit(second, name)).toEqual(['replay from=beginning force=false']);
  await using other = startService('sink', await configOf('both', []), 'second');
  await traffic[Symbol.asyncDispose]();
  await Promise.all([arrive(first), arrive(second)]);
  expect(await findDifferences(source.url, first.url)).toEqual([]);
  expect(await findDifferences(source.url, second.url)).toEqual([]);
  expect(await hashesOf(second)).toEqual(await hashesOf(first));
  await Promise.all([sink.drain(), other.drain()]);
}, 240_000);

test('what a target has is left out: a second replay changes no row, and a baseline goes on from its checkpoint', async () => {
  const clone = await newDatabase('clone', 15);
  const empty = await newDatabase('empty', 15);
  const config = await write('clone', [line('first', first), line('clone', clone), line('empty', empty)]);
  const replay = (code: number, target: string, from: string): Promise<string> =>
    restage(code, 'replay', '-c', config, '--target', target, '--from', from);
  const before = await rowsOf(first);
  await replay(0, 'first', 'beginning');
  expect(await rowsOf(first)).toEqual(before);

  await cloneOf(first, clone, folder);
  const [then] = await places();
  await commit(`UPDATE public.account SET balance = 0 WHERE id = 1`);
  await commit(`INSERT INTO public.account VALUES (2000, 'after the clone', 1, 's')`);
  const [now] = await places();
  await sent();
  for (const later of [now?.lsn ?? '', now?.time ?? '']) {
    expect(await replay(2, 'clone', later)).toMatch(/replay_refused: --from .*updates would find no rows/s);
  }
  expect(await replay(2, 'empty', then?.lsn ?? '')).toContain('target empty has no position');
  await replay(0, 'clone', then?.time ?? '');
  expect(await findDifferences(source.url, clone.url)).toEqual([]);
  await replay(0, 'clone', then?.lsn ?? '');
}, 240_000);

test('a bounded replay stops at the last whole transaction, stays there whatever sink comes, and goes on by another replay', async () => {
  const bounded = await newDatabase('bounded', 18);
  const config = await write('bounded', [line('bounded', bounded)]);
  const replay = (code: number, ...more: string[]): Promise<string> =>
    restage(code, 'replay', '-c', config, '--target', 'bounded', '--from', 'beginning', ...more);
  const stops: { readonly lsn: string; readonly time: string; readonly rows: string }[] = [];
  for (let turn = 0; turn < 4; turn += 1) {
    await commit(`UPDATE public.account SET balance = ${turn} WHERE id < 10; INSERT INTO public.heap VALUES (${turn})`);
    const [place] = await places();
    stops.push({ lsn: place?.lsn ?? '', time: place?.time ?? '', rows: await standOf(source) });
    // Nothing but its commit time says when this was.
    await source.client.query('TRUNCATE public.later');
    await source.client.query(`INSERT INTO public.later VALUES (${turn}, 'again')`);
  }
  await sent();
  expect(await replay(2, '--until', '0/1')).toContain('there is no such state');
  expect(await replay(2, '--until', '2999-01-01T00:00:00Z')).toContain('a time to come');
  for (const [at, text] of [
    [0, stops[0]?.lsn],
    [1, stops[1]?.time],
    [2, stops[2]?.lsn],
  ] as const) {
    expect(await replay(0, '--until', text ?? '')).toContain('its bound: a sink stands aside');
    expect(await standOf(bounded)).toBe(stops[at]?.rows);
  }
  expect(await replay(2, '--until', stops[0]?.lsn ?? '')).toContain('is past --until already');

  await using sink = startService('sink', await readConfig(config, {}), 'bounded');
  await until(() => sink.status.state === 'paused', { what: 'a sink that stands aside' });
  expect(sink.status.detail).toMatch(/^replayed up to a bound, .* goes on from there$/);
  const status = JSON.parse(await restage(0, 'status', '-c', config, '--json')) as PipelineStatus;
  expect(status.targets[0]?.replay).toMatchObject({ from: 'beginning', isFinished: true });
  expect(await standOf(bounded)).toBe(stops[2]?.rows);
  await replay(0);
  await arrive(bounded);
  expect(await findDifferences(source.url, bounded.url)).toEqual([]);
  await sink.streaming();
}, 240_000);

test('no bound inside a load that came later, and dead letters of before a forced replay come again or not at all', async () => {
  const strict = await newDatabase('strict', 15);
  const config = await write('strict', [line('strict', strict, ', quarantine: row')]);
  const replay = (code: number, ...more: string[]): Promise<string> =>
    restage(code, 'replay', '-c', config, '--target', 'strict', '--from', 'beginning', '--rate', '100000', ...more);
  const announced = await announcedAt(config);
  expect(await replay(2, '--until', announced)).toMatch(/replay_refused: tables were loaded again around --until/);
  await replay(0);
  expect(await findDifferences(source.url, strict.url)).toEqual([]);

  await strict.client.query('ALTER TABLE public.account ADD CONSTRAINT small CHECK (balance < 1000000)');
  await commit(`UPDATE public.account SET balance = 2000000 WHERE id = 11`);
  await sent();
  await commit(
    `UPDATE public.account SET balance = 3000000 WHERE id = 11; INSERT INTO public.account VALUES (11000, 'free', 1)`,
  );
  await sent();
  await replay(0);
  const waiting = `SELECT id, state FROM restage.dead_letter ORDER BY commit_lsn`;
  const letters = (await strict.client.query(waiting)).rows;
  expect(letters).toHaveLength(2);
  await strict.client.query('DELETE FROM public.account WHERE id = 12');
  expect(await replay(0, '--force', '--yes')).toContain('2 waiting dead letters go too');
  expect((await strict.client.query(waiting)).rows).toEqual(letters);
  await strict.client.query('ALTER TABLE public.account DROP CONSTRAINT small');
  await replay(0, '--force', '--yes');
  expect((await strict.client.query(waiting)).rows).toEqual([]);
  expect(await findDifferences(source.url, strict.url)).toEqual([]);
}, 240_000);

/** Killed here, it goes on when it is called again. */
const KILLS = someOf(
  [
    'replay.begin.after',
    'sink.epoch.before',
    'replay.end.before',
    'replay.begin.before',
    'sink.begin.after',
    'sink.plan.before',
    'sink.chunk.after',
    'sink.tableEnd.before',
    'sink.startStream.after',
    'sink.exchange.before',
    'sink.finishLoad.before',
    'replay.end.after',
  ],
  3,
);

test('a forced replay empties the target with its position, beside a sink at work, through kills, to the same rows', async () => {
  const config = await write('forced', [line('first', first)]);
  const forced = ['replay', '-c', config, '--target', 'first', '--from', 'beginning', '--force'];
  await using sink = startService('sink', await readConfig(config, {}), 'first');
  await arrive(first);
  // What nobody but a forced replay mends.
  await first.client.query(
    `SET session_replication_role = replica; UPDATE public.wide SET big = 'drifted' WHERE id = 30`,
  );
  const before = await rowsOf(first);
  expect(await restage(0, ...forced, '--dry-run')).toMatch(/is emptied[^]*public\.account/);
  expect(await restage(2, ...forced)).toContain('nobody can be asked');
  expect(await rowsOf(first)).toEqual(before);
  for (const point of KILLS) {
    const killed = await runCli([...forced, '--yes'], { RESTAGE_FAILPOINTS: `${point}=kill` });
    expect(killed, killed.stderr).toMatchObject({ signal: 'SIGKILL' });
  }
  await restage(0, ...forced, '--yes');
  await sink.orStops(arrive(first));
  const { rows } = await first.client.query(
    `SELECT FROM restage.journal WHERE step LIKE 'replay:%' AND finished_at IS NULL`,
  );
  expect(rows).toEqual([]);
  await sink.streaming();
  expect(await findDifferences(source.url, first.url)).toEqual([]);
}, 300_000);

const VERSIONS = `transform:
  outputs:
    - { name: main, rules: [{ table: public.account, rename: public.customer, columns: { drop: [secret] } }] }
    - { name: main, version: 2, rules: [{ table: public.account, rename: public.customer, columns: { rename: { owner: holder } }, where: "balance >= 0" }, { table: public.heap, rename: public.pile }] }`;
const BY_RULES = { 1: 'id, owner, balance, mail', 2: 'id, owner AS holder, balance, secret, mail' } as const;

test('two versions of an output are made side by side; a target goes from one to the other by force, another has it from the beginning', async () => {
  const [shaped, fresh] = [await newDatabase('shaped', 15), await newDatabase('fresh', 18)];
  const one = await configOf('one', [line('shaped', shaped, ', output: main@1')], VERSIONS);
  const file = await write(
    'two',
    [line('shaped', shaped, ', output: main@2'), line('fresh', fresh, ', output: main@2')],
    VERSIONS,
  );
  const two = await readConfig(file, {});
  await using old = startService('transformer', one, 'main@1');
  await using sink = startService('sink', one, 'shaped');
  await arrive(shaped);
  expect(await customersOf(shaped)).toEqual(await accountsOf(1));
  await sink.drain();

  const mixed = startService('sink', two, 'shaped');
  expect(await mixed.end).toMatchObject({
    code: 'output_changed',
    message: expect.stringContaining('main@1') as string,
  });
  const replay = ['replay', '-c', file, '--target', 'shaped', '--from', 'beginning'];
  expect(await restage(2, ...replay)).toContain('output_changed');
  const forced = [...replay, '--force', '--yes'];
  expect(await restage(2, ...forced)).toContain('no history yet');
  expect(await customersOf(shaped)).toEqual(await accountsOf(1));

  await using traffic = startTraffic();
  await using newer = startService('transformer', two, 'main@2');
  await newer.streaming();
  await restage(0, 'replay', '-c', file, '--target', 'fresh', '--from', 'beginning');
  await restage(0, ...forced);
  await traffic[Symbol.asyncDispose]();
  expect(old.status.state).toBe('streaming');
  await using first2 = startService('sink', two, 'shaped');
  await using second2 = startService('sink', two, 'fresh');
  await Promise.all([arrive(shaped), arrive(fresh)]);
  for (const target of [shaped, fresh]) expect(await customersOf(target)).toEqual(await accountsOf(2));
  const ofVersion2 = (hash: string): boolean => !hash.startsWith('public.heap');
  expect((await hashesOf(shaped)).filter(ofVersion2)).toEqual(await hashesOf(fresh));
  const status = JSON.parse(await restage(0, 'status', '-c', file, '--json')) as PipelineStatus;
  expect(status.services.map(({ service, instance }) => `${service} ${instance}`)).toEqual([
    'producer ',
    'transformer main@1',
    'transformer main@2',
    'sink shaped',
    'sink fresh',
  ]);
  expect(status.targets).toMatchObject([
    { name: 'shaped', output: 'main@2', isLoadDone: true, deadLetters: 0, replay: null },
    { name: 'fresh', output: 'main@2', isLoadDone: true, deadLetters: 0, replay: null },
  ]);
  await Promise.all([first2.drain(), second2.drain()]);
}, 300_000);

test('a history that no longer reaches back is refused by name', async () => {
  const late = await newDatabase('late', 15);
  const config = await write('late', [line('late', late), line('first', first)]);
  await using admin = await openAdmin();
  await emptyTopic(admin, `${name}.public.heap`);
  const replay = ['replay', '-c', config, '--from', 'beginning', '--target'];
  const refused = await restage(4, ...replay, 'late');
  expect(refused).toMatch(/^history_lost: .*\n.*topic \S+\.public\.heap, partition 0 begins at offset \d+/m);
  expect(await restage(4, ...replay, 'first', '--force', '--yes')).toContain('history_lost');
  // What a target has already is not needed.
  await restage(0, ...replay, 'first');
}, 120_000);

/** What a state of the source is told by. */
async function standOf({ client }: TestDatabase): Promise<string> {
  const { rows } = await client.query<{ stand: string }>(
    `SELECT concat_ws(' ', (SELECT max(n) FROM public.mark), (SELECT sum(balance) FROM public.account),
       (SELECT count(*) FROM public.heap), (SELECT string_agg(id || what, ',' ORDER BY id) FROM public.later)) AS stand`,
  );
  return rows[0]?.stand ?? '';
}

async function accountsOf(version: 1 | 2): Promise<unknown[]> {
  const where = version === 2 ? 'WHERE balance >= 0' : '';
  return (await source.client.query(`SELECT ${BY_RULES[version]} FROM public.account ${where} ORDER BY id`)).rows;
}

async function customersOf({ client }: TestDatabase): Promise<unknown[]> {
  return (await client.query('SELECT * FROM public.customer ORDER BY id')).rows;
}

/** Where the source is now, and when. */
async function places(): Promise<{ lsn: string; time: string }[]> {
  const { rows } = await source.client.query<{ lsn: string; time: string }>(
    `SELECT pg_current_wal_insert_lsn()::text AS lsn, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS time`,
  );
  return rows;
}

/** Where the stream stood when the history's new table was announced to be loaded. */
async function announcedAt(config: string): Promise<string> {
  const pool = openControlPool(await readConfig(config, {}), pino({ level: 'silent' }));
  try {
    const found = await findManifest(pool, name, ({ load }) => load > 1);
    return found?.manifest.through ?? '';
  } finally {
    await pool.close();
  }
}

/** Until the producer has all that is committed now. */
async function sent(): Promise<void> {
  const [now] = await places();
  await until(() => producer.status.through !== '' && parseLsn(producer.status.through) >= parseLsn(now?.lsn ?? ''), {
    what: `the producer at ${now?.lsn}`,
    timeoutMs: 60_000,
  });
}

/** Until a target has all that is committed now. */
async function arrive({ client }: TestDatabase): Promise<void> {
  const [now] = await places();
  const sql = 'SELECT FROM restage.checkpoint WHERE load_done AND through >= $1::pg_lsn';
  await until(async () => (await client.query(sql, [now?.lsn])).rowCount === 1, {
    what: `the target at ${now?.lsn}`,
    timeoutMs: 90_000,
  });
}

/** Small transactions until it is disposed of. */
function startTraffic(): AsyncDisposable {
  const stop = new AbortController();
  const ended = (async () => {
    while (!stop.signal.aborted) {
      await commit(`UPDATE public.account SET balance = balance + 1 WHERE id = ${mark % 300}`);
      await pause(40, stop.signal);
    }
  })();
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}

async function commit(sql: string): Promise<void> {
  mark += 1;
  await source.client.query(`BEGIN; INSERT INTO public.mark VALUES (${mark}); ${sql}; COMMIT`);
}

async function restage(code: number, ...args: string[]): Promise<string> {
  const result = await runCommand(args, AbortSignal.timeout(120_000));
  expect(result.code, result.text).toBe(code);
  return result.text;
}

async function newDatabase(label: string, version: 15 | 18): Promise<TestDatabase> {
  const database = await createDatabase(version, `replay_${label}`);
  databases.push(database);
  return database;
}

function line(target: string, { url }: TestDatabase, more = ''): string {
  return `  - { name: ${target}, postgres: { url: "${url}" }, schema: create${more} }`;
}

/** The file's path. */
async function write(file: string, targets: readonly string[], more = ''): Promise<string> {
  const config = path.join(folder, `${file}.yaml`);
  const text = `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, heartbeatMs: 500 }
epoch: { lingerMs: 300 }
${more}
targets:
${(targets.length === 0 ? [line('none', source)] : targets).join('\n')}
`;
  await writeFile(config, text);
  return config;
}

async function configOf(file: string, targets: readonly string[], more = ''): Promise<Config> {
  const config =
    targets.length === 0 && file !== 'producer' ? path.join(folder, `${file}.yaml`) : await write(file, targets, more);
  return readConfig(config, {});
}
