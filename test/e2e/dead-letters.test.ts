import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isLongRun, someOf } from '../harness/chaos/long-run.ts';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';
import { readTopics } from '../harness/topic-records.ts';
import { until } from '../harness/until.ts';

const TABLES = `
  CREATE TABLE public.customer (id int PRIMARY KEY, mail text);
  CREATE TABLE public.sale (id int PRIMARY KEY, customer int NOT NULL REFERENCES public.customer, cents bigint);
  CREATE TABLE public.note (id int PRIMARY KEY, body text);`;
/** What the faulty target gets once its load is done, and what takes it away again. */
const FAULTS = `INSERT INTO public.customer VALUES (-1, 'taken@x'); CREATE UNIQUE INDEX mails ON public.customer (mail);
  ALTER TABLE public.sale ALTER cents TYPE int; ALTER TABLE public.sale ADD CONSTRAINT small CHECK (cents <> 13);
  REVOKE INSERT ON public.note FROM PUBLIC`;
const MENDED = `DELETE FROM public.customer WHERE id = -1; DROP INDEX public.mails; ALTER TABLE public.sale ALTER cents TYPE bigint; ALTER TABLE public.sale DROP CONSTRAINT small;
  GRANT INSERT ON public.note TO PUBLIC`;
/** Each a transaction; after them what touches their rows again. */
const TRAFFIC = [
  `INSERT INTO public.customer VALUES (1, 'a@x'); INSERT INTO public.sale VALUES (1, 1, 100)`,
  `INSERT INTO public.customer VALUES (2, 'taken@x'); INSERT INTO public.sale VALUES (2, 1, 1)`,
  `INSERT INTO public.sale VALUES (3, 2, 100)`,
  `INSERT INTO public.sale VALUES (4, 1, 3000000000)`,
  `INSERT INTO public.sale VALUES (5, 1, 13); UPDATE public.sale SET cents = 101 WHERE id = 1`,
  `INSERT INTO public.note VALUES (1, 'x')`,
  `UPDATE public.sale SET cents = 102 WHERE id = 1`,
  `UPDATE public.customer SET mail = 'b@x' WHERE id = 2`,
  `INSERT INTO public.customer VALUES (3, 'c@x')`,
];

let source: TestDatabase;
let faulty: TestDatabase;
let sound: TestDatabase;
let role: string;
let folder: string;
let config: string;
let name: string;
const running: CliProcess[] = [];

beforeAll(async () => {
  [source, faulty, sound] = await Promise.all([
    createDatabase(15, 'letters_source'),
    createDatabase(15, 'letters_faulty'),
    createDatabase(18, 'letters_sound'),
  ]);
  for (const database of [source, faulty, sound]) await database.client.query(TABLES);
  role = `${faulty.name}_role`;
  await faulty.client.query(`CREATE ROLE ${role} LOGIN PASSWORD 'letters';
    GRANT CREATE ON DATABASE ${faulty.name} TO ${role}; GRANT SET ON PARAMETER session_replication_role TO ${role};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO PUBLIC`);
  name = source.name.replaceAll('_', '-');
  folder = await mkdtemp(path.join(tmpdir(), 'restage-letters-'));
});

afterAll(async () => {
  for (const one of running) {
    one.kill('SIGTERM');
    await one.result(15_000).catch(() => undefined);
    await one[Symbol.asyncDispose]();
  }
  await source[Symbol.asyncDispose]();
  await faulty.client.query(
    `DROP OWNED BY ${role} CASCADE; REVOKE SET ON PARAMETER session_replication_role FROM ${role}`,
  );
  await faulty[Symbol.asyncDispose]();
  await sound.client.query('SELECT 1');
  await sound[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

interface Listed {
  readonly id: string;
  readonly table: { readonly table: string };
  readonly rowKey: { readonly id: string };
  readonly code: string;
  readonly behind: string | null;
}

test.each(someOf(['transaction', 'row'] as const, 1))(
  '%s: what one target refuses waits there alone, arrives once it is mended, in order, through kills',
  async (policy) => {
    await start(policy);
    await source.client.query('DELETE FROM public.sale; DELETE FROM public.customer; DELETE FROM public.note');
    await restage(0, 'wait', '--target', 'faulty', '--timeout', '60');
    await stopSink();
    await faulty.client.query(FAULTS);
    for (const sql of TRAFFIC) await source.client.query(`BEGIN; ${sql}; COMMIT`);
    if (policy === 'transaction') {
      await killSinkAt('sink.relay.before', true);
      await killSinkAt('sink.relay.after', false);
    }
    startSink();
    for (const target of ['sound', 'faulty']) await restage(0, 'wait', '--target', target, '--timeout', '60');

    await restage(0, 'verify', '--target', 'sound');
    const letters = await list();
    const byTable = letters.map(
      ({ table, rowKey, behind }) => `${table.table} ${rowKey.id}${behind === null ? ' itself' : ''}`,
    );
    const ofRows = ['customer 2 itself', 'sale 3', 'sale 4 itself', 'sale 5 itself', 'note 1 itself', 'customer 2'];
    const ofTransactions = [
      'customer 2 itself',
      'sale 2',
      'sale 3',
      'sale 4 itself',
      'sale 5 itself',
      'sale 1',
      'note 1 itself',
      'sale 1',
      'customer 2',
    ];
    expect(byTable).toEqual(policy === 'row' ? ofRows : ofTransactions);
    expect(new Set(letters.map(({ code }) => code))).toEqual(
      new Set(['target_constraint', 'target_value', 'target_refused', 'held']),
    );
    await expectTopicHas(letters);
    await expectToldEverywhere(letters);

    await dlq(1, 'retry');
    expect(await list()).toHaveLength(letters.length);
    await faulty.client.query(MENDED);
    if (policy === 'transaction') await retryThroughKills(letters.length);
    // Beside a sink that is at work, and more to come.
    await source.client.query(
      `UPDATE public.customer SET mail = 'last@x' WHERE id = 2; UPDATE public.sale SET cents = cents + 1`,
    );
    await dlq(0, 'retry');
    await restage(0, 'wait', '--target', 'faulty', '--timeout', '60');
    await dlq(0, 'retry');
    await restage(0, 'verify', '--target', 'faulty');
    expect(await list()).toEqual([]);
  },
  300_000,
);

test.runIf(isLongRun())(
  'dropped: the row stays different, and what waited behind may be retried',
  async () => {
    await start('row');
    await faulty.client.query(`ALTER TABLE public.note ADD CONSTRAINT no CHECK (body <> 'no')`);
    await source.client.query(`INSERT INTO public.note VALUES (50, 'no'); INSERT INTO public.note VALUES (51, 'yes')`);
    // In an epoch of its own: folded, the two would be one good row.
    await restage(0, 'wait', '--target', 'faulty', '--timeout', '60');
    await source.client.query(`UPDATE public.note SET body = 'later' WHERE id = 50`);
    await restage(0, 'wait', '--target', 'faulty', '--timeout', '60');
    const [first, second] = await list();
    expect(first, sink?.stderr()).toMatchObject({ code: 'target_constraint' });
    await dlq(2, 'drop', first?.id ?? '');
    await dlq(0, 'drop', first?.id ?? '', '--dry-run');
    expect(await list()).toHaveLength(2);
    const env = { RESTAGE_FAILPOINTS: 'dlq.drop.before=kill' };
    expect(await runCli(['dlq', 'drop', '-c', config, first?.id ?? '', '--yes'], env)).toMatchObject({
      signal: 'SIGKILL',
    });
    expect(await list()).toHaveLength(2);
    const after = { RESTAGE_FAILPOINTS: 'dlq.drop.after=kill' };
    expect(await runCli(['dlq', 'drop', '-c', config, first?.id ?? '', '--yes'], after)).toMatchObject({
      signal: 'SIGKILL',
    });
    expect(await list()).toMatchObject([{ id: second?.id, code: 'freed', behind: null }]);
    await dlq(1, 'retry');
    const shown = await dlq(0, 'show', second?.id ?? '', '--values', '--json');
    expect(JSON.parse(shown)).toMatchObject([{ code: 'target_drift', value: expect.stringContaining('later') }]);
    expect(await dlq(0, 'show', second?.id ?? '')).not.toContain('later');
    await dlq(0, 'drop', second?.id ?? '', '--yes');
    const verified = await runCli(['verify', '-c', config, '--target', 'faulty', '--json']);
    expect(JSON.parse(verified.stdout)).toMatchObject({ verdict: 'different' });
  },
  180_000,
);

let sink: CliProcess | null = null;

function startSink(env: NodeJS.ProcessEnv = {}): CliProcess {
  sink = startCli(['sink', '-c', config, '--target', 'faulty'], env);
  running.push(sink);
  return sink;
}

async function stopSink(): Promise<void> {
  sink?.kill('SIGTERM');
  expect(await sink?.result(15_000)).toMatchObject({ code: 0 });
  sink = null;
}

async function start(policy: string): Promise<void> {
  if (sink !== null) await stopSink();
  const isFirst = running.length === 0;
  config = path.join(folder, 'restage.yaml');
  const url = faulty.urlFor(role, 'letters');
  await writeFile(
    config,
    `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" } }
targets:
  - { name: faulty, postgres: { url: "${url}" }, schema: require, quarantine: ${policy} }
  - { name: sound, postgres: { url: "${sound.url}" }, schema: require, quarantine: ${policy} }
`,
  );
  if (isFirst)
    for (const args of [['producer'], ['sink', '--target', 'sound']]) running.push(startCli([...args, '-c', config]));
  startSink();
  const isDone = async ({ client }: TestDatabase): Promise<boolean> =>
    (await client.query('SELECT FROM restage.checkpoint WHERE load_done')).rowCount === 1;
  await until(async () => (await isDone(faulty)) && (await isDone(sound)), { what: 'both loads', timeoutMs: 90_000 });
}

async function killSinkAt(point: string, isFirst: boolean): Promise<void> {
  const killed = await startSink({ RESTAGE_FAILPOINTS: `${point}=kill` }).result(60_000);
  expect(killed, killed.stderr).toMatchObject({
    signal: 'SIGKILL',
    stderr: expect.stringContaining(`failpoint ${point}: kill`),
  });
  const { rows } = await faulty.client.query<{ relayed: boolean }>(
    'SELECT bool_or(relayed_at IS NOT NULL) AS relayed FROM restage.dead_letter WHERE state = $1',
    ['waiting'],
  );
  expect(rows[0]?.relayed).toBe(!isFirst);
}

/** What is tried leaves everything as it was; what is killed is done or not done. */
async function retryThroughKills(count: number): Promise<void> {
  await dlq(0, 'retry', '--dry-run');
  expect(await list()).toHaveLength(count);
  await killRetryAt('dlq.retry.before');
  expect(await list()).toHaveLength(count);
  await killRetryAt('dlq.retry.after');
  expect((await list()).length).toBeLessThan(count);
}

async function killRetryAt(point: string): Promise<void> {
  const killed = await runCli(['dlq', 'retry', '-c', config], { RESTAGE_FAILPOINTS: `${point}=kill` });
  expect(killed, killed.stderr).toMatchObject({ signal: 'SIGKILL' });
}

async function restage(code: number, command: string, ...args: string[]): Promise<string> {
  const done = await runCli([command, '-c', config, ...args]);
  expect(done, `${command} ${args.join(' ')}: ${done.stdout}${done.stderr}${sink?.stderr()}`).toMatchObject({ code });
  return done.stdout;
}

async function dlq(code: number, command: string, ...args: string[]): Promise<string> {
  const done = await runCli(['dlq', command, '-c', config, ...args]);
  expect(done, `${command} ${args.join(' ')}: ${done.stdout}${done.stderr}`).toMatchObject({ code });
  return done.stdout;
}

async function list(): Promise<Listed[]> {
  return (JSON.parse(await dlq(0, 'list', '--json')) as { deadLetters: Listed[] }).deadLetters;
}

/** Each at least once, and nothing else of this target that waits; with bytes and reason. */
async function expectTopicHas(letters: readonly Listed[]): Promise<void> {
  const wanted = new Set(letters.map(({ id }) => id));
  const found = new Map<string, Map<string, Buffer>>();
  await readTopics([`${name}.dlq`], (_, { headers }) => {
    found.set(headers.get('dlq.id')?.toString() ?? '', new Map(headers));
    return [...wanted].every((id) => found.has(id));
  });
  for (const { id, code, behind } of letters) {
    const headers = found.get(id);
    expect(headers?.get('dlq.code')?.toString()).toBe(code);
    expect(headers?.get('dlq.behind')?.toString()).toBe(behind ?? '');
    expect(headers?.get('pos')).toHaveLength(16);
  }
}

async function expectToldEverywhere(letters: readonly Listed[]): Promise<void> {
  const rows = new Set(letters.map(({ table, rowKey }) => `${table.table} ${rowKey.id}`));
  const told = { name: 'faulty', deadLetters: letters.length, heldKeys: rows.size };
  const status = JSON.parse(await restage(0, 'status', '--json')) as { targets: unknown[] };
  expect(status.targets).toMatchObject([told, { name: 'sound', deadLetters: 0, heldKeys: 0 }]);
  const verified = await runCli(['verify', '-c', config, '--target', 'faulty', '--json']);
  expect(verified.code).toBe(1);
  const { tables } = JSON.parse(verified.stdout) as {
    tables: { different: { kind: string; deadLetter?: string }[] }[];
  };
  const ids = new Set(letters.map(({ id }) => id));
  const different = tables.flatMap((table) => table.different);
  // The planted row is the target's own.
  for (const { kind, deadLetter } of different)
    if (kind === 'extra') expect(deadLetter).toBeUndefined();
    else expect(ids).toContain(deadLetter);
  expect(different.length).toBeGreaterThan(3);
}
