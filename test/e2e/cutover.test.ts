import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { STEPS_AFTER, STEPS_BEFORE } from '#core/migration/steps.ts';
import { isLongRun, someOf } from '../harness/chaos/long-run.ts';
import { runCli, startCli, type CliProcess, type CliResult } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { LiveWriters } from '../harness/live-writers.ts';
import { SeededRandom } from '../harness/random.ts';
import { testKafka, testPostgres } from '../harness/servers.ts';
import { TcpProxy } from '../harness/tcp-proxy.ts';
import { until } from '../harness/until.ts';

const TABLES_SQL = `
  CREATE TABLE public.ledger (n bigserial PRIMARY KEY, id text NOT NULL UNIQUE);
  CREATE TABLE public.total (id int PRIMARY KEY, n int NOT NULL);
  INSERT INTO public.total VALUES (1, 0);
  CREATE TABLE public.probe (id text PRIMARY KEY);
  CREATE TABLE public.orders (id text PRIMARY KEY, note text);
  INSERT INTO public.orders SELECT 'old-' || n, 'n' FROM generate_series(1, 500) n;
  CREATE VIEW public.amounts AS SELECT 0::bigint AS n;
  CREATE MATERIALIZED VIEW public.doubled AS SELECT n * 2 AS n FROM public.amounts;
  CREATE MATERIALIZED VIEW public.amount AS SELECT count(*) AS n FROM public.orders;
  CREATE OR REPLACE VIEW public.amounts AS SELECT n FROM public.amount;
  REFRESH MATERIALIZED VIEW public.doubled;
  SELECT lo_create(1001), lo_create(1002), lo_create(1003), lo_create(1004);
  SELECT lo_put(1001, 0, convert_to(repeat('large ', 400000), 'UTF8')), lo_put(1002, 0, 'small'), lo_put(1003, 0, 'goes');
`;
const OBJECTS_SQL = `SELECT oid::text AS oid, md5(lo_get(oid)) AS content FROM pg_largeobject_metadata WHERE oid BETWEEN 1001 AND 1009 ORDER BY oid`;

let source: TestDatabase;
let target: TestDatabase;
let folder: string;
let config: string;
let hookFile: string;
let writers: LiveWriters;
let services: CliProcess[];

beforeAll(async () => {
  source = await createDatabase(15, 'cut_source');
  target = await createDatabase(15, 'cut_target');
  folder = await mkdtemp(path.join(tmpdir(), 'restage-cut-'));
  config = path.join(folder, 'restage.yaml');
  hookFile = path.join(folder, 'live.json');
  await source.client.query(TABLES_SQL);
  await writeFile(config, configWith(`file: ${hookFile}`));
  services = [startCli(['run', '-c', config])];
  await waitFor('target');
  services.push(startCli(['reverse', '-c', config, '--target', 'new']));
}, 300_000);

afterAll(async () => {
  await writers.end();
  for (const service of services) await service[Symbol.asyncDispose]();
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

function configWith(hook: string, timeoutMs = 1_500): string {
  return `
name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, heartbeatMs: 1000 }
rehearsal: { postgres: { url: "${testPostgres(15)}" }, smoke: "until [ -e '${folder}/smoked' ]; do sleep 0.1; done", smokeSeconds: 600 }
cutover: { hook: { ${hook}, timeoutMs: ${timeoutMs} } }
transform:
  outputs:
    - name: main
      rules: [{ table: public.orders, rename: public.purchases, columns: { rename: { note: remark } } }]
targets: [{ name: new, postgres: { url: "${target.url}" } }]
`;
}

async function waitFor(name: string): Promise<void> {
  const waited = await runCli(['wait', '-c', config, '--target', 'new', '--timeout', '60'], {}, 300_000);
  expect(waited, `${name}: ${waited.stderr}${services.map((one) => one.stderr()).join('')}`).toMatchObject({ code: 0 });
}

type Command = 'cutover' | 'rollback';

function argsOf(command: Command, more: readonly string[]): string[] {
  // Long enough for a machine that has other work: no case counts on how long anything takes.
  return [command, '-c', config, '--target', 'new', '--yes', '--time-box', '90s', ...more];
}

async function operate(command: Command, env: NodeJS.ProcessEnv = {}, ...more: string[]): Promise<CliResult> {
  return runCli(argsOf(command, more), env, 180_000);
}

async function succeed(command: Command): Promise<number> {
  const done = await operate(command, {}, '--json');
  expect(done, done.stderr).toMatchObject({ code: 0 });
  const { live, unavailableMs } = JSON.parse(done.stdout) as { live: string; unavailableMs: number };
  expect(live).toBe(command === 'cutover' ? 'target' : 'source');
  return unavailableMs;
}

/** Both sides at rest: the live one has all that was acknowledged, and the other one the same. */
async function requireAllThere(live: 'source' | 'target'): Promise<void> {
  const before = writers.countOf(live);
  await until(() => writers.countOf(live) > before + 3, { what: `writes on the ${live}` });
  expect(await writers.missingAt(live)).toEqual([]);
  const other = live === 'source' ? 'target' : 'source';
  const known = [...writers.accepted];
  let missing: readonly string[] = [];
  try {
    await until(
      async () => {
        missing = await writers.missingAt(other, known);
        return missing.length === 0;
      },
      { timeoutMs: 180_000, what: `what was written on the ${live} comes to the ${other}` },
    );
  } catch (error) {
    const { client } = other === 'source' ? source : target;
    const told = [
      'SELECT * FROM restage.sink_gate',
      'SELECT * FROM restage.checkpoint',
      'SELECT * FROM restage.table_load',
      `SELECT application_name, state, wait_event_type, wait_event, query FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'restage%'`,
    ].map(async (sql) => JSON.stringify((await client.query(sql)).rows));
    throw new Error(
      `${missing.length} rows are missing, the first ${missing.slice(0, 3).join(', ')}\n${(await Promise.all(told)).join('\n')}\n${services.map((one) => one.stderr().slice(-3_000)).join('\n')}`,
      { cause: error },
    );
  }
}

/** Sent SIGKILL at one point after another, then left to end. */
async function sweep(command: Command, points: readonly string[]): Promise<void> {
  for (const point of points) {
    const killed = await operate(command, { RESTAGE_FAILPOINTS: `${point}=kill` });
    expect(killed, `${point}\n${killed.stderr}`).toMatchObject({ signal: 'SIGKILL' });
  }
}

/** Ctrl-C comes right before a step. */
async function interrupt(command: Command, point: string): Promise<CliResult> {
  await using operator = startCli(argsOf(command, []), { RESTAGE_FAILPOINTS: `${point}=stop` });
  await operator.stopped(/switch/);
  operator.kill('SIGINT');
  operator.kill('SIGCONT');
  return await operator.result(240_000);
}

/** In the order in which a switch meets them. */
const ALL = [...STEPS_BEFORE.map(({ name }) => name), 'commit', ...STEPS_AFTER.map(({ name }) => name)].flatMap(
  (name) => [`switch.${name}.before`, `switch.${name}.after`],
);

/** What no stream brings: large objects are the same on both sides, whoever wrote them. */
async function requireSameObjects(change: string): Promise<void> {
  const [theirs, ours] = [await source.client.query(OBJECTS_SQL), await target.client.query(OBJECTS_SQL)];
  expect(ours.rows, change).toEqual(theirs.rows);
}

test('what speaks against a switch is said before anything is closed, and nothing is changed', async () => {
  const refused = await operate('cutover', {}, '--time-box', '5s');
  expect(refused, refused.stderr).toMatchObject({ code: 1 });
  expect(refused.stderr).toContain('the rows were never verified');
  expect(refused.stderr).toContain('the source is live');
  const verified = await runCli(['verify', '-c', config, '--target', 'new']);
  expect(verified, verified.stdout + verified.stderr).toMatchObject({ code: 0 });
  writers = new LiveWriters({
    urls: { source: source.url, target: target.url },
    hookFile,
    orders: { source: 'public.orders', target: 'public.purchases' },
    note: { source: 'note', target: 'remark' },
  });
  // From here on the target takes no writes but Restage's.
  await expect(target.client.query(`INSERT INTO public.probe VALUES ('rogue')`)).rejects.toMatchObject({
    code: '25006',
  });
  await expect(target.client.query('TRUNCATE public.purchases')).rejects.toMatchObject({ code: '25006' });
  const dry = await operate('cutover', {}, '--dry-run');
  expect(dry, dry.stderr).toMatchObject({ code: 0, stdout: 'nothing was done\n' });
  expect(dry.stderr).toMatch(
    /objects: .*\n.*refresh: .*\n.*analyze: .*\n.*hold: .*\ndry run: fence: \d+ ms; so .*closed for writes/,
  );
  expect(writers.eras()).toEqual(['source']);
}, 300_000);

test.runIf(isLongRun())(
  'a fence that cannot be closed, a hook that fails or hangs, a second operator, Ctrl-C: all is undone, and the source is live',
  async () => {
    const open = new pg.Client({ connectionString: source.url, application_name: 'the one who holds' });
    await open.connect();
    open.on('error', () => undefined);
    await open.query(`BEGIN; INSERT INTO public.orders VALUES ('held', 'n')`);
    const blocked = await operate('cutover', {}, '--time-box', '1s');
    expect(blocked, blocked.stderr).toMatchObject({ code: 1 });
    expect(blocked.stderr).toMatch(/fence_blocked.*\n.*the one who holds.*everything is undone: the source is live/);
    await open.query('COMMIT');
    await open.end();

    const hooks = [
      ['command: ["sleep", "60"]', 'did not end within 1500 ms'],
      ['command: ["false"]', 'it ended with 1'],
      ['url: "http://127.0.0.1:1/"', 'fetch failed'],
    ] as const;
    for (const [hook, says] of someOf(hooks, 1)) {
      await writeFile(config, configWith(`file: ${hookFile}, ${hook}`));
      const failed = await operate('cutover');
      expect(failed, failed.stderr).toMatchObject({ code: 4 });
      expect(failed.stderr).toContain(says);
      expect(failed.stderr).toContain('the source is the live side');
    }
    const flag = path.join(folder, 'go-on');
    const script = path.join(folder, 'hook.sh');
    await writeFile(script, `case "$RESTAGE_HOOK" in *hold*) until [ -e '${flag}' ]; do sleep 0.1; done ;; esac\n`);
    const waits = `command: ["sh", "${script}"]`;
    await writeFile(config, configWith(`file: ${hookFile}, ${waits}`, 60_000));
    await using first = startCli(argsOf('cutover', []));
    await first.output(/switching to the target/);
    const second = await operate('cutover');
    expect(second, second.stderr).toMatchObject({ code: 3 });
    expect(second.stderr).toContain('operator_busy');
    expect(second.stderr).toMatch(/the source is the live side: a switch to the target has begun, is at step hold/);
    first.kill('SIGINT');
    await first.output(/asked to stop/);
    await writeFile(flag, '');
    const stopped = await first.result();
    expect(stopped, stopped.stderr).toMatchObject({ code: 1 });
    expect(stopped.stderr).toContain('everything is undone: the source is live');
    await writeFile(config, configWith(`file: ${hookFile}`));
    for (const { name } of STEPS_BEFORE) {
      const told = await interrupt('cutover', `switch.${name}.before`);
      expect(told, `${name}\n${told.stderr}`).toMatchObject({ code: 1 });
      expect(told.stderr, name).toContain('everything is undone: the source is live');
    }
    expect(writers.eras()).toEqual(['source']);
  },
  900_000,
);

test.runIf(isLongRun())(
  'a source that cannot be reached any more in the fence: the message says which side is live, the fence ends by itself, and nothing is lost',
  async () => {
    const url = new URL(source.url);
    await using link = await TcpProxy.open(Number(url.port), new SeededRandom(1));
    url.hostname = '127.0.0.1';
    url.port = String(link.port);
    const direct = await readFile(config, 'utf8');
    const other = path.join(folder, 'linked.yaml');
    await writeFile(other, direct.replace(source.url, url.href));
    for (const [kind, step] of [
      ['reset', 'drain'],
      ['blackHole', 'seal'],
    ] as const) {
      const args = ['cutover', '-c', other, '--target', 'new', '--yes', '--time-box', '30s'];
      await using operator = startCli(args, { RESTAGE_FAILPOINTS: `switch.${step}.before=stop` });
      await operator.stopped(/switch/);
      link.spoil({ kind });
      operator.kill('SIGCONT');
      const ended = await operator.result(240_000);
      expect([3, 4], `${kind}\n${ended.stderr}`).toContain(ended.code);
      expect(ended.stderr).toContain('the source is the live side');
      const before = writers.countOf('source');
      await until(() => writers.countOf('source') > before + 3, { what: 'writes after the fence', timeoutMs: 90_000 });
      link.mend();
      const undone = await operate('rollback');
      expect(undone, undone.stderr).toMatchObject({ code: 0 });
    }
    expect(writers.eras()).toEqual(['source']);
  },
  900_000,
);

test(
  'killed at its steps there and back, with writers on: every acknowledged commit is on the live side, and never do both take writes',
  async () => {
    const some = ['switch.seal.after', 'switch.commit.after'];
    // Nobody comes back: the fence ends by itself.
    const alone = await operate('cutover', { RESTAGE_FAILPOINTS: 'switch.fence.after=kill' }, '--time-box', '6s');
    expect(alone, alone.stderr).toMatchObject({ signal: 'SIGKILL' });
    const before = writers.countOf('source');
    await until(() => writers.countOf('source') > before + 3, {
      what: 'writes on the source after the fence ended by itself',
    });
    // The killed operator has copied what there was.
    await source.client.query(
      `SELECT lo_put(1002, 2, 'changed'), lo_unlink(1003), lo_put(1001, 2000000, 'x'), lo_from_bytea(1005, 'new')`,
    );
    await sweep('cutover', isLongRun() ? ALL : some);
    await succeed('cutover');
    expect(writers.eras()).toEqual(['source', 'target']);
    await requireAllThere('target');
    await requireSameObjects('there');
    const { rows: views } = await target.client.query<{ n: string; twice: string }>(
      'SELECT a.n, d.n AS twice FROM public.amount a, public.doubled d',
    );
    expect(Number(views[0]?.n)).toBeGreaterThan(500);
    expect(Number(views[0]?.twice)).toBe(2 * Number(views[0]?.n));
    await target.client.query(`SELECT lo_unlink(1001), lo_put(1004, 0, 'filled'), lo_from_bytea(1006, 'newer')`);
    const back = ['switch.freeze.after', 'switch.open.before'];
    await sweep('rollback', isLongRun() ? ALL : back);
    await succeed('rollback');
    expect(writers.eras()).toEqual(['source', 'target', 'source']);
    await requireAllThere('source');
    await requireSameObjects('back');
    // The way there goes on from where it was left, and may be taken again; a rehearsal beside it is none of its business.
    const rehearsal = isLongRun() ? startCli(['rehearse', '-c', config, '--target', 'new']) : null;
    await rehearsal?.output(/verify: done/, 240_000);
    if (isLongRun()) {
      // Ctrl-C is not heard once it asked for the commit; a hook that fails after it leaves the rest to the same command.
      const fails = `command: ["sh", "-c", "case $RESTAGE_HOOK in *flip*) exit 7 ;; esac"]`;
      await writeFile(config, configWith(`file: ${hookFile}, ${fails}`));
      const halfway = await interrupt('cutover', 'switch.commit.before');
      expect(halfway, halfway.stderr).toMatchObject({ code: 4 });
      expect(halfway.stderr).toMatch(/it ended with 7[^]*the target is live and open for writes/);
      await writeFile(config, configWith(`file: ${hookFile}`));
    }
    await succeed('cutover');
    await writeFile(path.join(folder, 'smoked'), '');
    if (rehearsal !== null) expect(await rehearsal.result(120_000)).toMatchObject({ code: 0 });
    await requireAllThere('target');
    expect(writers.eras()).toEqual(['source', 'target', 'source', 'target']);
    expect(writers.failures).toEqual([]);
  },
  isLongRun() ? 1_800_000 : 600_000,
);

test('complete ends it: the target stays live, the way back is gone, the old source stays closed', async () => {
  const status = await runCli(['status', '-c', config]);
  expect(status.stdout).toMatch(
    /new: migration SWITCHED; the target is live; next: .*; can go back: yes: restage rollback/,
  );
  await writers.end();
  expect(await writers.missingAt('target')).toEqual([]);
  await until(async () => (await writers.missingAt('source')).length === 0, {
    timeoutMs: 120_000,
    what: 'the old source has all of it',
  });
  const completed = await runCli(['complete', '-c', config, '--target', 'new', '--yes'], {}, 300_000);
  expect(completed, completed.stdout + completed.stderr).toMatchObject({ code: 0 });
  expect(completed.stdout).toMatch(/a pipeline whose source is target new[^]*removed: slot \w+_back_new \(source\)/);
  await target.client.query(`INSERT INTO public.probe VALUES ('free')`);
  await expect(source.client.query(`INSERT INTO public.probe VALUES ('old')`)).rejects.toMatchObject({ code: '25006' });
  const { rows } = await target.client.query(
    'SELECT slot_name FROM pg_replication_slots WHERE database = current_database()',
  );
  expect(rows).toEqual([]);
  const again = await operate('rollback');
  expect(again, again.stderr).toMatchObject({ code: 1 });
}, 300_000);
