import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { STEPS } from '#core/migration/steps.ts';
import { isLongRun } from '../harness/chaos/long-run.ts';
import { runCommand } from '../harness/command.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { openAdmin } from '../harness/kafka-admin.ts';
import { postgresBin, testKafka, testPostgres } from '../harness/servers.ts';

const LIMIT_MS = 100_000;
const LONG_MS = isLongRun() ? 1_200_000 : 120_000;

let source: TestDatabase;
let target: TestDatabase;
let baseline: TestDatabase;
let running: CliProcess;
let file: string;
let pipeline: string;
let clone: string;
const folder = mkdtempSync(path.join(tmpdir(), 'restage-rehearse-'));

/** The configuration with another `rehearsal`. */
function withRehearsal(name: string, rehearsal: string): string {
  const other = path.join(folder, `${name}.yaml`);
  writeFileSync(
    other,
    `${readFileSync(file, 'utf8')}rehearsal:\n  postgres: { url: "${testPostgres(15)}" }\n${rehearsal}`,
  );
  return other;
}

async function command(...args: string[]): Promise<{ code: number; text: string }> {
  return runCommand(args, AbortSignal.timeout(LIMIT_MS));
}

/** What a rehearsal of this pipeline could leave elsewhere: topics, consumer groups, slots. Other files' come and go. */
async function traces(): Promise<string[]> {
  await using admin = await openAdmin();
  const { groups } = await admin.listGroups();
  const slots = await source.client.query<{ name: string }>(
    'SELECT slot_name AS name FROM pg_replication_slots WHERE database = current_database()',
  );
  const inKafka = [...(await admin.listTopics()), ...groups.map(({ groupId }) => groupId)];
  return [...inKafka.filter((name) => name.startsWith(pipeline)), ...slots.rows.map(({ name }) => name)].toSorted();
}

async function databases(): Promise<string[]> {
  const { rows } = await source.client.query<{ name: string }>('SELECT datname AS name FROM pg_database');
  return rows.map(({ name }) => name);
}

async function inClone<T extends pg.QueryResultRow>(sql: string): Promise<T[]> {
  const url = new URL(testPostgres(15));
  url.pathname = `/${clone}`;
  const client = new pg.Client({ connectionString: url.toString() });
  await client.connect();
  try {
    return (await client.query<T>(sql)).rows;
  } finally {
    await client.end();
  }
}

beforeAll(async () => {
  source = await createDatabase(15, 'rehearse_source');
  target = await createDatabase(15, 'rehearse_target');
  baseline = await createDatabase(15, 'rehearse_baseline');
  await source.client.query(`
    CREATE TABLE public.accounts (id serial PRIMARY KEY, balance numeric(12,2) NOT NULL);
    INSERT INTO public.accounts (balance) SELECT n FROM generate_series(1, 500) n`);
  await baseline.client.query(`
    CREATE TABLE public.ledger (id serial PRIMARY KEY, balance numeric(12,2) NOT NULL);
    CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing;
    CREATE USER MAPPING FOR PUBLIC SERVER elsewhere`);
  pipeline = `rehearse-${source.name.slice(-10)}`;
  clone = `restage_rehearsal_${pipeline.replaceAll('-', '_')}_new`;
  file = path.join(folder, 'live.yaml');
  writeFileSync(
    file,
    `name: ${pipeline}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" } }
transform: { outputs: [{ name: main, rules: [{ table: public.accounts, rename: public.ledger }] }] }
targets: [{ name: new, output: main, postgres: { url: "${target.url}" }, schema: create }]
`,
  );
  running = startCli(['run', '-c', file]);
  expect((await command('wait', '-c', file, '--target', 'new', '--timeout', '90')).code).toBe(0);
  await source.client.query('UPDATE public.accounts SET balance = -balance WHERE id % 3 = 0');
});

afterAll(async () => {
  await running[Symbol.asyncDispose]();
  for (const database of [baseline, target, source]) await database[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

test(
  'a rehearsal replays, times the switch, verifies and tries the application, and leaves nothing behind',
  async () => {
    // It writes on the new side, which the rollback brings back.
    const smoke = `'${postgresBin()}/psql' "$RESTAGE_CLONE_URL" -c 'SELECT 1 / count(*) FROM public.ledger WHERE balance < 0' -c 'INSERT INTO public.ledger VALUES (999, 7)'`;
    const config = withRehearsal(
      'passes',
      `  smoke: ${JSON.stringify(smoke)}\n  budget: { replaySeconds: 90, downtimeSeconds: 90 }\n`,
    );
    const before = await databases();
    const traced = await traces();
    const dry = await command('rehearse', '-c', config, '--target', 'new', '--dry-run');
    expect(dry).toMatchObject({
      code: 0,
      text: expect.stringContaining(`clone ${clone} of an empty database, by template`),
    });
    const reports = path.join(folder, 'reports');
    const done = await command('rehearse', '-c', config, '--target', 'new', '--report', reports);
    expect(done, done.text).toMatchObject({ code: 0 });
    const report = JSON.parse(readFileSync(path.join(reports, 'report.json'), 'utf8')) as {
      verdict: string;
      steps: { name: string; says: string }[];
      switches: { to: string; unavailableMs: number; steps: { name: string; ms: number; evidence: object }[] }[];
      budgets: { name: string; seconds: number; ok: boolean }[];
    };
    expect(report.verdict).toBe('passed');
    expect(report.steps.map(({ name }) => name)).toEqual([
      'clone',
      'neutralise',
      'replay',
      'switch',
      'verify',
      'cutover',
      'smoke',
      'rollback',
    ]);
    expect(report.steps[2]?.says).toContain('500 rows and 166 changes');
    expect(report.steps[4]?.says).toBe('1 tables, 500 rows: equal');
    const measured = /^writes refused for \d+ ms: fence \d+ ms, drain \d+ ms, verify \d+ ms; 100 rows written before$/;
    expect(report.steps[5]?.says).toMatch(measured);
    expect(report.steps[7]?.says).toMatch(measured);
    const switches = report.switches.map(({ to, steps }) => [to, ...steps.map(({ name }) => name)]);
    const all = STEPS.map(({ name }) => name);
    expect(switches).toEqual([
      ['target', ...all],
      ['source', ...all],
    ]);
    const compared = report.switches.map(({ steps }) => steps.find(({ name }) => name === 'verify')?.evidence);
    expect(compared).toMatchObject([{ rows: 500 }, { rows: 501 }]);
    const longest = Math.max(...report.switches.map(({ unavailableMs }) => unavailableMs)) / 1_000;
    expect(report.budgets).toMatchObject([
      { name: 'rehearsal.budget.replaySeconds', ok: true },
      { name: 'rehearsal.budget.downtimeSeconds', ok: true, seconds: longest },
    ]);
    const page = readFileSync(path.join(reports, 'report.html'), 'utf8');
    expect(page).not.toMatch(/src=|href=|<script/);
    expect(page).toMatch(/Cutover of .*Rollback of /s);
    expect(readFileSync(path.join(reports, 'junit.xml'), 'utf8')).toContain('tests="10" failures="0"');
    const { rows: audit } = await target.client.query('SELECT record FROM restage.migration_record ORDER BY seq');
    expect(JSON.stringify(audit)).toMatch(/rehearse.*verdict.*passed.*rollback s/);
    expect((await source.client.query('SELECT FROM public.accounts')).rowCount).toBe(500);
    expect((await target.client.query('SELECT FROM public.ledger')).rowCount).toBe(500);
    for (let round = 1; isLongRun() && round < 20; round += 1)
      expect(await command('rehearse', '-c', config, '--target', 'new')).toMatchObject({ code: 0 });
    expect(await traces()).toEqual(traced);
    // Others may still be on their way out.
    expect((await databases()).filter((name) => !before.includes(name))).toEqual([]);
    const status = await command('status', '-c', file, '--json');
    expect(status.text).not.toContain('rehearsal-new');
  },
  LONG_MS,
);

test('what fails is named, step by step, and the clone goes all the same', async () => {
  const broken = withRehearsal(
    'fails',
    `  smoke: "echo no such page >&2; exit 3"\n  rollback: false\n  budget: { switchSeconds: 0.001, downtimeSeconds: 3600 }\n`,
  );
  const failed = await command('rehearse', '-c', broken, '--target', 'new', '--json');
  expect(failed.code).toBe(1);
  expect(failed.text).toContain('"verdict":"failed"');
  expect(failed.text).toContain('rehearsal.smoke ended with 3:\\nno such page');
  expect(failed.text).toContain('"name":"rehearsal.budget.switchSeconds"');
  expect(failed.text).toContain('"leftOut":["cutover and rollback: rehearsal.rollback is false"]');
  // What was left out keeps no budget.
  expect(failed.text).toMatch(
    /"name":"rehearsal.budget.downtimeSeconds","limitSeconds":3600,"seconds":null,"ok":false/,
  );
  expect(await databases()).not.toContain(clone);
  // The target wants its tables made, and the baseline has one already.
  const taken = withRehearsal('taken', `  baseline: ${baseline.name}\n  driver: dump\n`);
  const refused = await command('rehearse', '-c', taken, '--target', 'new');
  expect(refused).toMatchObject({
    code: 1,
    text: expect.stringMatching(/replay: FAILED .*schema_differs.*\n {2}where: public\.ledger/),
  });
  expect(await databases()).not.toContain(clone);
});

test(
  'a clone that is kept has no way out, and a reset makes it as its baseline again',
  async () => {
    const config = withRehearsal('kept', `  baseline: ${baseline.name}\n`);
    const withTables = path.join(folder, 'require.yaml');
    writeFileSync(withTables, readFileSync(config, 'utf8').replace('schema: create', 'schema: require'));
    const busy = await command('rehearse', '-c', withTables, '--target', 'new', '--dry-run');
    expect(busy.text).toContain('by dump');
    await baseline.client.end();
    // A rehearsal that is killed in its cutover leaves slots and topics, and no reset minds.
    const traced = await traces();
    const killed = await runCli(['rehearse', '-c', withTables, '--target', 'new'], {
      RESTAGE_FAILPOINTS: 'switch.drain.after=kill',
    });
    expect(killed).toMatchObject({ signal: 'SIGKILL' });
    expect(await databases()).toContain(`${clone}_source`);
    expect(await traces()).not.toEqual(traced);
    expect((await command('reset', '-c', withTables, '--target', 'new', '--drop')).code).toBe(0);
    expect(await databases()).not.toContain(`${clone}_source`);
    expect(await traces()).toEqual(traced);
    const kept = await command('rehearse', '-c', withTables, '--target', 'new', '--keep');
    expect(kept, kept.text).toMatchObject({
      code: 0,
      text: expect.stringContaining('off: login of public at elsewhere'),
    });
    expect(kept.text).toContain('by template');
    await inClone('UPDATE public.ledger SET balance = 0; DROP SCHEMA restage CASCADE');
    const again = await command('reset', '-c', withTables, '--target', 'new');
    expect(again).toMatchObject({ code: 0, text: expect.stringContaining(`is as ${baseline.name} again`) });
    expect(await inClone('SELECT FROM public.ledger')).toEqual([]);
    for (let round = 1; isLongRun() && round < 20; round += 1) {
      expect(await command('rehearse', '-c', withTables, '--target', 'new', '--keep')).toMatchObject({ code: 0 });
      expect(await command('reset', '-c', withTables, '--target', 'new')).toMatchObject({ code: 0 });
      expect(await inClone('SELECT FROM public.ledger')).toEqual([]);
    }
    expect((await command('reset', '-c', withTables, '--target', 'new', '--drop')).code).toBe(0);
    expect(await databases()).not.toContain(clone);
  },
  LONG_MS,
);

test('a command of yours makes and removes clones, where it is to', async () => {
  const psql = `'${postgresBin()}/psql' -q '${testPostgres(15)}'`;
  const made = new URL(testPostgres(15));
  made.pathname = '/';
  const config = withRehearsal(
    'command',
    `  driver: command\n  command:\n    create: ${JSON.stringify(`${psql} -c "CREATE DATABASE $RESTAGE_CLONE" && echo "${made.href}$RESTAGE_CLONE"`)}\n    drop: ${JSON.stringify(`${psql} -c "DROP DATABASE IF EXISTS $RESTAGE_CLONE"`)}\n`,
  );
  expect(await command('reset', '-c', config, '--target', 'new')).toMatchObject({ code: 0 });
  expect(await databases()).toContain(clone);
  expect(await command('reset', '-c', config, '--target', 'new', '--drop')).toMatchObject({ code: 0 });
  expect(await databases()).not.toContain(clone);
});

test('neither a live target nor a database of somebody else is taken for a clone', async () => {
  const live = withRehearsal('of-target', `  baseline: ${target.name}\n`);
  expect(await command('rehearse', '-c', live, '--target', 'new')).toMatchObject({
    code: 2,
    text: expect.stringContaining(`database ${target.name}`),
  });
  await source.client.query(`CREATE DATABASE ${clone}`);
  const config = withRehearsal('foreign', '');
  const refused = await command('rehearse', '-c', config, '--target', 'new');
  expect(refused.code).not.toBe(0);
  expect(refused.text).toContain('is none of ours');
  expect(await databases()).toContain(clone);
  await source.client.query(`DROP DATABASE ${clone}`);
});
