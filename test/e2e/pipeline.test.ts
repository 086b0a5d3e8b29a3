import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { pgbench } from '../harness/pgbench.ts';
import { testKafka } from '../harness/servers.ts';
import { servicesOf, signalProcess } from '../harness/service-processes.ts';
import { until } from '../harness/until.ts';

const ACCOUNTS = 20;
const TOTAL = ACCOUNTS * 1_000;
const LOAD_SECONDS = 30;
/** Transactions per second of pgbench: what two shared cores carry beside the servers and six Node processes. */
const LOAD_RATE = 300;
/** PostgreSQL ends a session silent for 10 s and Kafka a member; then come the supervisor's back-off and the start. */
const RESTART_MS = 45_000;

const BANK_SQL = `
  CREATE TABLE public.bank (id int PRIMARY KEY, balance int NOT NULL);
  INSERT INTO public.bank SELECT n, 1000 FROM generate_series(1, ${ACCOUNTS}) n;
  CREATE TABLE public.author (id int PRIMARY KEY, name text NOT NULL);
  CREATE TABLE public.book (id int PRIMARY KEY, author int NOT NULL REFERENCES public.author, title text);
  INSERT INTO public.author SELECT n, 'author ' || n FROM generate_series(1, 50) n;
  INSERT INTO public.book SELECT n, 1 + n % 50, 'book ' || n FROM generate_series(1, 500) n;
`;
/** Name in the source, name in the target. */
const TABLES = [
  ['pgbench_accounts', 'accounts_renamed'],
  ['pgbench_branches', 'pgbench_branches'],
  ['pgbench_tellers', 'pgbench_tellers'],
  ['pgbench_history', 'pgbench_history'],
  ['bank', 'bank'],
  ['author', 'author'],
  ['book', 'book'],
] as const;

let source: TestDatabase;
let target: TestDatabase;
let folder: string;
let config: string;

beforeAll(async () => {
  source = await createDatabase(15, 'pipeline_source');
  target = await createDatabase(15, 'pipeline_target');
  await pgbench(source.url, ['-i', '-s', '1', '-q', '--foreign-keys']).ended;
  await source.client.query(BANK_SQL);
  folder = await mkdtemp(path.join(tmpdir(), 'restage-pipeline-'));
  config = path.join(folder, 'restage.yaml');
  await writeFile(
    config,
    `
name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source:
  postgres: { url: "${source.url}" }
transform:
  outputs:
    - name: main
      version: 1
      rules:
        - { table: public.pgbench_accounts, rename: public.accounts_renamed }
targets:
  - { name: new, postgres: { url: "${target.url}" }, schema: copy }
`,
  );
});

afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

test('a loaded database arrives whole through kills and a restart, never showing half a transaction', async () => {
  await using load = pgbench(source.url, ['-c', '4', '-T', String(LOAD_SECONDS), '-R', String(LOAD_RATE), '-n']);
  const writers = new AbortController();
  const transfers = moveMoney(writers.signal);
  const polls = new AbortController();
  const sums = watchSum(polls.signal);
  const started: CliProcess[] = [];
  try {
    const first = startCli(['run', '-c', config]);
    started.push(first);
    await until(isLoadDone, { what: 'the load to be done', timeoutMs: 60_000 });
    for (const service of ['producer', 'transformer', 'sink']) await killAndAwaitNext(first, service);
    await awaitProgress();
    await stop(first);

    const second = startCli(['run', '-c', config]);
    started.push(second);
    await load.ended;
    writers.abort();
    expect(await transfers).toBeGreaterThan(20);
    const waited = await runCli(['wait', '-c', config, '--target', 'new', '--lsn', 'current', '--timeout', '90']);
    expect(waited, second.stderr()).toMatchObject({ code: 0 });

    await expectEqualTables();
    expect(await foreignKeys(target)).toEqual(renamed(await foreignKeys(source)));
    polls.abort();
    const seen = await sums;
    expect(seen.count).toBeGreaterThan(20);
    expect(seen.wrong).toEqual([]);
    await killAlone(second);
  } catch (error) {
    throw new Error(`the runs said:\n${started.map((run) => run.stdout() + run.stderr()).join('\n--- again ---\n')}`, {
      cause: error,
    });
  } finally {
    writers.abort();
    polls.abort();
    for (const run of started) {
      for (const { pid } of await servicesOf(run.pid, config)) signalProcess(pid, 'SIGKILL');
      await run[Symbol.asyncDispose]();
    }
    await Promise.allSettled([transfers, sums]);
  }
}, 180_000);

/** Transfers between random accounts, one transaction each, until the signal; gives their number. */
async function moveMoney(signal: AbortSignal): Promise<number> {
  return await withSession(source.url, async (client) => {
    let count = 0;
    for (; !signal.aborted; count += 1) {
      const from = 1 + Math.floor(Math.random() * ACCOUNTS);
      const to = 1 + ((from + Math.floor(Math.random() * (ACCOUNTS - 1))) % ACCOUNTS);
      const amount = 1 + Math.floor(Math.random() * 50);
      await client.query('BEGIN');
      await client.query('UPDATE public.bank SET balance = balance - $2 WHERE id = $1', [from, amount]);
      await client.query('UPDATE public.bank SET balance = balance + $2 WHERE id = $1', [to, amount]);
      await client.query('COMMIT');
      await client.query('SELECT pg_sleep(0.01)');
    }
    return count;
  });
}

/** The sum that each look at the target finds once the load is done. */
async function watchSum(signal: AbortSignal): Promise<{ readonly count: number; readonly wrong: readonly string[] }> {
  return await withSession(target.url, async (client) => {
    const wrong: string[] = [];
    let count = 0;
    let isDone = false;
    while (!signal.aborted) {
      isDone ||= await isLoadDone();
      if (isDone) {
        const { rows } = await client.query<{ sum: string | null }>(
          'SELECT sum(balance)::text AS sum FROM public.bank',
        );
        count += 1;
        if (rows[0]?.sum !== String(TOTAL)) wrong.push(`${new Date().toISOString()}: ${rows[0]?.sum}`);
      }
      await client.query('SELECT pg_sleep(0.05)');
    }
    return { count, wrong };
  });
}

async function isLoadDone(): Promise<boolean> {
  const known = await target.client.query(`SELECT FROM pg_class WHERE oid = to_regclass('restage.checkpoint')`);
  if (known.rowCount === 0) return false;
  const done = await target.client.query('SELECT FROM restage.checkpoint WHERE load_done');
  return done.rowCount === 1;
}

/** kill -9, then waits until the supervisor has a new process. */
async function killAndAwaitNext(run: CliProcess, service: string): Promise<void> {
  const [victim] = (await servicesOf(run.pid, config)).filter((one) => one.service === service);
  if (victim === undefined) throw new Error(`no ${service} runs below ${run.pid}`);
  signalProcess(victim.pid, 'SIGKILL');
  await until(
    async () => (await servicesOf(run.pid, config)).some((one) => one.service === service && one.pid !== victim.pid),
    {
      what: `a new ${service}`,
    },
  );
}

/** The leases of the killed have ended and everything up to now has arrived. */
async function awaitProgress(): Promise<void> {
  const { rows } = await source.client.query<{ lsn: string }>('SELECT pg_current_wal_lsn()::text AS lsn');
  await until(
    async () =>
      (await target.client.query('SELECT FROM restage.checkpoint WHERE through > $1::pg_lsn', [rows[0]?.lsn]))
        .rowCount === 1,
    { what: 'the target to move on after kill -9', timeoutMs: RESTART_MS },
  );
}

/** SIGTERM drains within 12 s, exit code 0, and no child is left. */
async function stop(run: CliProcess): Promise<void> {
  const children = await servicesOf(run.pid, config);
  expect(children.map((child) => child.service).toSorted()).toEqual(['producer', 'sink', 'transformer']);
  run.kill('SIGTERM');
  expect(await run.result(12_000)).toMatchObject({ code: 0, signal: null });
  for (const { pid } of children) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
}

/** Services do not outlive the run that started them, though nobody tells them. */
async function killAlone(run: CliProcess): Promise<void> {
  const children = await servicesOf(run.pid, config);
  expect(children).toHaveLength(3);
  run.kill('SIGKILL');
  for (const { pid, service } of children)
    await until(() => !isAlive(pid), { what: `the ${service} to end after its run was killed` });
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function expectEqualTables(): Promise<void> {
  for (const [before, after] of TABLES) {
    expect(await digest(target, after), after).toEqual(await digest(source, before));
  }
}

async function digest(database: TestDatabase, table: string): Promise<unknown> {
  const sql = `SELECT count(*)::text AS rows, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text AS hash FROM public.${table} t`;
  return (await database.client.query(sql)).rows[0];
}

async function foreignKeys(database: TestDatabase): Promise<string[]> {
  const { rows } = await database.client.query<{ key: string }>(
    `SELECT format('%s %s valid=%s', conrelid::regclass, pg_get_constraintdef(oid), convalidated) AS key
       FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace`,
  );
  return rows.map((row) => row.key).toSorted();
}

function renamed(keys: readonly string[]): string[] {
  return keys.map((key) => key.replaceAll('pgbench_accounts', 'accounts_renamed')).toSorted();
}

async function withSession<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, application_name: 'restage test' });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
