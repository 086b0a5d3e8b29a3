import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterEach, expect, test } from 'vitest';
import { FAILPOINTS } from '#core/failpoints.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { readAudit } from '../harness/audit.ts';
import { isLongRun } from '../harness/chaos/long-run.ts';
import { runCli, startCli, type CliProcess, type CliResult } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { readmeGrants } from '../harness/readme-grants.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

const PASSWORD = 'least of all';
const TABLES = ['customers', 'orders', 'lines', 'staff', 'log'];

const SOURCE_SQL = `
  CREATE TABLE public.customers (id serial PRIMARY KEY, name text NOT NULL);
  CREATE TABLE public.orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES public.customers ON DELETE CASCADE, total int);
  CREATE TABLE public.lines (order_id int REFERENCES public.orders, n int, PRIMARY KEY (order_id, n));
  CREATE TABLE public.staff (id int PRIMARY KEY, boss int REFERENCES public.staff);
  CREATE TABLE public.log (id bigserial PRIMARY KEY, what text);
  CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.log (what) VALUES (TG_OP || ' ' || TG_TABLE_NAME); RETURN NULL; END $$;
  CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON public.orders FOR EACH ROW EXECUTE FUNCTION public.note();
  CREATE FUNCTION public.rest() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
  CREATE TRIGGER replayed AFTER DELETE ON public.customers FOR EACH ROW EXECUTE FUNCTION public.rest();
  ALTER TABLE public.customers ENABLE REPLICA TRIGGER replayed;
  INSERT INTO public.customers SELECT n, 'customer ' || n FROM generate_series(1, 200) n;
  INSERT INTO public.orders SELECT n, 1 + n % 200, n FROM generate_series(1, 1000) n;
  INSERT INTO public.lines SELECT n, m FROM generate_series(1, 1000) n, generate_series(1, 2) m;
  INSERT INTO public.staff SELECT n, nullif(n / 2, 0) FROM generate_series(1, 300) n;
  SELECT setval('public.customers_id_seq', 200);
`;
/** Owner-made: keys that act are the plain ones they may be while rows arrive, and there are triggers and rules of all kinds. */
const OWNED_SQL = `
  CREATE TABLE public.staff (id int PRIMARY KEY, boss int REFERENCES public.staff);
  CREATE TABLE public.customers (id serial PRIMARY KEY, name text NOT NULL);
  CREATE TABLE public.orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES public.customers, total int);
  CREATE TABLE public.lines (order_id int REFERENCES public.orders DEFERRABLE, n int, PRIMARY KEY (order_id, n));
  COMMENT ON CONSTRAINT lines_order_id_fkey ON public.lines IS 'it''s kept';
  CREATE TABLE public.log (id bigserial PRIMARY KEY, what text);
  CREATE TABLE public.seen (what text);
  CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (TG_NAME); RETURN NULL; END $$;
  CREATE TRIGGER plain AFTER INSERT OR UPDATE OR DELETE ON public.orders FOR EACH ROW EXECUTE FUNCTION public.see();
  CREATE TRIGGER always AFTER INSERT OR UPDATE OR DELETE ON public.orders FOR EACH ROW EXECUTE FUNCTION public.see();
  CREATE TRIGGER replica AFTER INSERT ON public.orders FOR EACH ROW EXECUTE FUNCTION public.see();
  CREATE TRIGGER never AFTER INSERT ON public.orders FOR EACH ROW EXECUTE FUNCTION public.see();
  ALTER TABLE public.orders ENABLE ALWAYS TRIGGER always;
  ALTER TABLE public.orders ENABLE REPLICA TRIGGER replica;
  ALTER TABLE public.orders DISABLE TRIGGER never;
  CREATE RULE kept AS ON DELETE TO public.lines DO INSTEAD NOTHING;
`;
/** What only an order of the tables meets, or only the order of the source: cascades, another parent, a key given again. */
const TRAFFIC = [
  `INSERT INTO public.customers (name) VALUES ('new'); INSERT INTO public.orders VALUES (2001, 201, 1); INSERT INTO public.lines VALUES (2001, 1)`,
  `UPDATE public.orders SET customer = 201 WHERE customer = 7; DELETE FROM public.customers WHERE id = 7`,
  `DELETE FROM public.lines USING public.orders o WHERE order_id = o.id AND o.customer = 9; DELETE FROM public.customers WHERE id = 9`,
  `UPDATE public.orders SET customer = 11 WHERE customer = 10; DELETE FROM public.customers WHERE id = 10;
   INSERT INTO public.customers VALUES (10, 'again'); UPDATE public.orders SET customer = 10 WHERE id % 200 = 9`,
  `INSERT INTO public.staff VALUES (902, 901), (901, 1); UPDATE public.staff SET boss = 902 WHERE id = 300; DELETE FROM public.staff WHERE id >= 290`,
];

interface Target {
  readonly name: string;
  readonly schema: 'copy' | 'create' | 'require';
  readonly database: TestDatabase;
  readonly url: string;
}

/** Its second time is the stream's, which comes once: the next life of the sink gets past it. */
const TAKE_AWAY_FAILPOINTS = 'sink.takeAway.before=kill:2,sink.takeAway.after=say';
/** In the order in which a finish comes by them; one call after another is killed there. */
const FINISH_KILLS = ['finish.take.after', 'sink.enable.before', 'finish.end.before', 'finish.end.after'];
const FINISH_FAILPOINTS = FAILPOINTS.filter((name) => /^(finish|sink\.enable)\./.test(name));

const owned: (() => PromiseLike<unknown>)[] = [];

afterEach(async () => {
  for (const end of owned.splice(0).toReversed()) await end();
});

test('no superuser: a pipeline into copied tables, with and without session_replication_role, and into the own ones', async () => {
  const source = await makeSource(15, SOURCE_SQL);
  const granted = await makeTarget(15, 'granted', 'copy');
  const refused = await makeTarget(15, 'refused', 'copy', { without: [/session_replication_role/] });
  const without = [/session_replication_role/, /CREATE ON SCHEMA/];
  const own = await makeTarget(15, 'own', 'require', { without, sql: OWNED_SQL });
  const file = await makeConfig(source, [granted, refused, own]);

  await mendForeignKeys(file, own);
  const copied = await runCli(['schema', 'copy', '-c', file, '--target', 'granted', '--section', 'pre-data']);
  expect(copied, copied.stdout + copied.stderr).toMatchObject({ code: 0 });
  const hooksBefore = await hooksOf(own);
  const keysBefore = await keysOf(own);
  const run = start(['run', '-c', file], { RESTAGE_FAILPOINTS: TAKE_AWAY_FAILPOINTS });
  await until(() => areLoaded([granted, refused, own]), { what: 'every load to be done', timeoutMs: 120_000 });
  for (const sql of TRAFFIC) await source.client.query(`BEGIN; ${sql}; COMMIT`);
  await expectEqual(file, [granted, refused, own], run);

  await expectSwitchGrants(file, granted);
  expect(await hooksOf(granted)).toEqual(await hooksOf({ database: source }));
  expect(await keysOf(granted)).toEqual(await keysOf({ database: source }));
  expect(await hooksOf(refused)).toEqual([]);
  expect(await keysOf(refused)).toEqual([expect.stringContaining('lines_order_id_fkey')]);
  expect(new Set((await hooksOf(own)).map((hook) => hook.slice(-1)))).toEqual(new Set(['D']));
  expect(await keysOf(own)).toEqual(keysBefore);
  expect((await own.database.client.query('SELECT FROM public.seen')).rowCount).toBe(0);

  expect(await finish(file, granted)).toMatchObject({ loadDone: true, steps: [] });
  const planned = await finish(file, own, '--dry-run');
  expect(planned).toMatchObject({
    dryRun: true,
    steps: expect.arrayContaining([expect.objectContaining({ name: 'always' })]),
  });
  expect(await hooksOf(own)).not.toEqual(hooksBefore);
  const met = new Set<string>();
  for (const point of FINISH_KILLS) for (const name of await finishUntil(file, own, point)) met.add(name);
  expect([...met].toSorted()).toEqual(FINISH_FAILPOINTS.toSorted());
  for (const target of [own, refused]) await finish(file, target);
  expect(await finish(file, refused)).toMatchObject({ loadDone: true, steps: [] });
  expect(await hooksOf(own)).toEqual(hooksBefore);
  expect(await hooksOf(refused)).toEqual(await hooksOf({ database: source }));
  expect(await keysOf(refused)).toEqual(await keysOf({ database: source }));
  await expectNothingMoreIsApplied(source, [granted, own, refused], file);
  const pipeline = source.name.replaceAll('_', '-');
  expect(await readAudit(granted.database, pipeline)).toEqual([
    'schema copy section=pre-data',
    'schema finish statements=0',
  ]);
  const audit = await readAudit(own.database, pipeline);
  expect(audit[0]).toMatch(/^sequences /);
  expect(audit.slice(1).filter((line) => !line.startsWith('schema finish '))).toEqual([]);

  expect(run.stderr()).toMatch(/failpoint sink\.takeAway\.before: kill[^]*failpoint sink\.takeAway\.after: say/);
  run.kill('SIGTERM');
  expect(await run.result(12_000), run.stderr()).toMatchObject({ code: 0 });
}, 240_000);

test.runIf(isLongRun())(
  'PostgreSQL 18 on both sides, tables made from events',
  async () => {
    const source = await makeSource(18, SOURCE_SQL);
    const target = await makeTarget(18, 'made', 'create', { without: [/session_replication_role/] });
    const file = await makeConfig(source, [target]);
    const check = await runCli(['check', '-c', file, '--json']);
    expect(check, check.stdout + check.stderr).toMatchObject({ code: 0 });
    const run = start(['run', '-c', file]);
    await until(() => areLoaded([target]), { what: 'the load to be done', timeoutMs: 60_000 });
    for (const sql of TRAFFIC) await source.client.query(`BEGIN; ${sql}; COMMIT`);
    await expectEqual(file, [target], run);
    run.kill('SIGTERM');
    expect(await run.result(12_000), run.stderr()).toMatchObject({ code: 0 });
  },
  240_000,
);

/** A source whose tables an owner made who is no superuser; he grants and publishes what the README says. */
async function makeSource(version: 15 | 18, sql: string): Promise<TestDatabase & { readonly roleUrl: string }> {
  const database = await createDatabase(version, 'grants_source');
  owned.push(() => database[Symbol.asyncDispose]());
  const owner = `${database.name}_owner`;
  const role = `${database.name}_role`;
  owned.push(() => dropRoles(database, [role, owner]));
  await database.client.query(`CREATE ROLE ${owner} LOGIN PASSWORD '${PASSWORD}'`);
  await database.client.query(`ALTER DATABASE ${database.name} OWNER TO ${owner}`);
  const [createRole = '', ...grants] = await readmeGrants('source', {
    ...namesFor(database, role),
    publication: `restage_${database.name}`,
    tables: TABLES.map((table) => `public.${table}`),
  });
  await database.client.query(createRole);
  const client = new pg.Client({ connectionString: database.urlFor(owner, PASSWORD) });
  await client.connect();
  await client.query(sql);
  for (const grant of grants) await client.query(grant);
  await client.end();
  return { ...database, roleUrl: database.urlFor(role, PASSWORD) };
}

async function makeTarget(
  version: 15 | 18,
  name: string,
  schema: Target['schema'],
  { without = [], sql = '' }: { readonly without?: readonly RegExp[]; readonly sql?: string } = {},
): Promise<Target> {
  const database = await createDatabase(version, `grants_${name}`);
  owned.push(() => database[Symbol.asyncDispose]());
  const role = `${database.name}_role`;
  owned.push(() => dropRoles(database, [role]));
  const grants = await readmeGrants('target', { ...namesFor(database, role), publication: '', tables: [] });
  const left = grants.filter((grant) => !without.some((pattern) => pattern.test(grant)));
  expect(left).toHaveLength(grants.length - without.length);
  for (const grant of left) await database.client.query(grant);
  await database.client.query(sql);
  const { rows } = await database.client.query<{ table: string }>(
    `SELECT oid::regclass::text AS table FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'`,
  );
  for (const { table } of rows) await database.client.query(`ALTER TABLE ${table} OWNER TO ${role}`);
  return { name, schema, database, url: database.urlFor(role, PASSWORD) };
}

function namesFor(database: TestDatabase, role: string): { role: string; password: string; database: string } {
  return { role, password: PASSWORD, database: database.name };
}

async function dropRoles(database: TestDatabase, roles: readonly string[]): Promise<void> {
  await database.client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY($1)', [
    roles,
  ]);
  for (const role of roles) {
    const name = quoteIdentifier(role);
    await database.client.query(`REASSIGN OWNED BY ${name} TO CURRENT_USER; DROP OWNED BY ${name}; DROP ROLE ${name}`);
  }
}

async function makeConfig(source: { name: string; roleUrl: string }, targets: readonly Target[]): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'restage-grants-'));
  owned.push(() => rm(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'restage.yaml');
  const list = targets.map(
    ({ name, url, schema }) => `  - { name: ${name}, postgres: { url: "${url}" }, schema: ${schema} }`,
  );
  await writeFile(
    file,
    `name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.roleUrl}" } }
targets:
${list.join('\n')}
`,
  );
  return file;
}

function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): CliProcess {
  const run = startCli(args, env);
  owned.push(() => stopAll(run));
  return run;
}

/** SIGTERM first: the children have process groups of their own. */
async function stopAll(run: CliProcess): Promise<void> {
  run.kill('SIGTERM');
  await run.result(15_000).catch(() => undefined);
  await run[Symbol.asyncDispose]();
}

/** The self-reference is refused by check and sink in the same words, and check's own statement mends it. */
async function mendForeignKeys(file: string, target: Target): Promise<void> {
  const blocked = await runCli(['check', '-c', file, '--json']);
  expect(blocked.code, blocked.stdout + blocked.stderr).toBe(1);
  const findings = blocking(blocked);
  expect(findings.map((finding) => finding.id)).toEqual(['target.foreign_keys']);
  const fix = findings[0]?.fix ?? '';
  expect(fix).toContain('ALTER TABLE "public"."staff" ALTER CONSTRAINT "staff_boss_fkey" DEFERRABLE;');
  await target.database.client.query(fix.slice(0, fix.indexOf('--')));
  const ready = await runCli(['check', '-c', file, '--json']);
  expect(ready, ready.stdout + ready.stderr).toMatchObject({ code: 0 });
}

function blocking(result: CliResult): { readonly id: string; readonly fix: string }[] {
  const report = JSON.parse(result.stdout) as { findings: { id: string; severity: string; fix: string }[] };
  return report.findings.filter((finding) => finding.severity === 'block');
}

async function areLoaded(targets: readonly Target[]): Promise<boolean> {
  const done = await Promise.all(
    targets.map(({ database }) => database.client.query('SELECT FROM restage.checkpoint WHERE load_done')),
  );
  return done.every((one) => one.rowCount === 1);
}

async function expectEqual(file: string, targets: readonly Target[], run: CliProcess): Promise<void> {
  for (const { name } of targets) {
    const waited = await runCli(['wait', '-c', file, '--target', name, '--timeout', '60']);
    expect(waited, waited.stderr + run.stdout() + run.stderr()).toMatchObject({ code: 0 });
    const verified = await runCli(['verify', '-c', file, '--target', name, '--json']);
    expect(verified, verified.stdout + verified.stderr).toMatchObject({ code: 0 });
  }
  const last = targets.at(-1)?.name ?? '';
  const sequences = await runCli(['sequences', '-c', file, '--target', last, '--json']);
  expect(sequences, sequences.stderr).toMatchObject({ code: 0 });
  expect(JSON.parse(sequences.stdout)).toMatchObject({
    sequences: expect.arrayContaining([expect.objectContaining({ table: 'customers_id_seq', to: '201' })]),
  });
  const status = await runCli(['status', '-c', file, '--json']);
  expect(status, status.stderr).toMatchObject({ code: 0 });
}

/** What a switch takes beyond a copy speaks against it, each with its statement. */
async function expectSwitchGrants(file: string, { name }: Target): Promise<void> {
  const args = ['cutover', '-c', file, '--target', name, '--no-way-back', '--terminate'];
  const refused = await runCli([...args, '--yes']);
  expect(refused, refused.stderr).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(
      /source is the live side[^]*_role may not keep a migration's state[^]*GRANT CREATE ON DATABASE/,
    ),
  });
  const dry = await runCli([...args, '--dry-run']);
  expect(dry, dry.stderr).toMatchObject({ code: 0 });
  expect(dry.stderr.match(/^speaks against it: .*$/gm)).toEqual([
    expect.stringMatching(
      /source's role may not keep the migration's state .*: GRANT CREATE ON DATABASE \w+ TO \w+_role;$/,
    ),
    expect.stringMatching(/source's role may not UPDATE 5 tables, to lock them .*: GRANT UPDATE ON .* TO \w+_role;$/),
    expect.stringMatching(/source's role may not TRIGGER 5 tables, to guard them.*: GRANT TRIGGER ON .* TO \w+_role;$/),
    expect.stringMatching(/source's role may not end sessions of others.*: GRANT pg_signal_backend TO \w+_role;/),
  ]);
}

/** kill -9 there: what was done is done, and the next call goes on. Gives the failpoints that it came by. */
async function finishUntil(file: string, target: Target, point: string): Promise<string[]> {
  const env = { RESTAGE_FAILPOINTS: `*=say,${point}=kill` };
  const done = await runCli(['schema', 'finish', '-c', file, '--target', target.name], env);
  expect(done, done.stderr).toMatchObject({
    signal: 'SIGKILL',
    stderr: expect.stringContaining(`failpoint ${point}: kill`),
  });
  const met = [...done.stderr.matchAll(/^failpoint (\S+): say$/gm)].map(([, name = '']) => name);
  return met.filter((name) => FINISH_FAILPOINTS.some((known) => known === name));
}

async function finish(file: string, target: Target, ...more: string[]): Promise<unknown> {
  const done = await runCli(['schema', 'finish', '-c', file, '--target', target.name, '--json', ...more]);
  expect(done, done.stderr).toMatchObject({ code: 0 });
  return JSON.parse(done.stdout);
}

/** A target that was finished takes nothing more, and its triggers work for its application; the other goes on. */
async function expectNothingMoreIsApplied(
  source: TestDatabase,
  [open, own, refused]: readonly [Target, Target, Target],
  file: string,
): Promise<void> {
  await source.client.query(`INSERT INTO public.orders VALUES (3001, 1, 1)`);
  const waited = await runCli(['wait', '-c', file, '--target', open.name, '--timeout', '60']);
  expect(waited, waited.stderr).toMatchObject({ code: 0 });
  const restingSinks = async (): Promise<boolean> => {
    const status = await runCli(['status', '-c', file, '--json']);
    const { services } = JSON.parse(status.stdout) as {
      services: { instance: string; state: string; detail: string }[];
    };
    return [own, refused].every(({ name }) =>
      services.some((one) => one.instance === name && one.state === 'paused' && one.detail.includes('schema finish')),
    );
  };
  await until(restingSinks, { what: 'both sinks to rest for good', timeoutMs: 60_000 });
  for (const { database } of [own, refused])
    expect((await database.client.query('SELECT FROM public.orders WHERE id = 3001')).rowCount).toBe(0);
  await own.database.client.query('INSERT INTO public.orders VALUES (4001, 1, 1)');
  expect((await own.database.client.query('SELECT what FROM public.seen ORDER BY what')).rows).toEqual([
    { what: 'always' },
    { what: 'plain' },
  ]);
}

async function hooksOf({ database }: Pick<Target, 'database'>): Promise<string[]> {
  const { rows } = await database.client.query<{ hook: string }>(
    `SELECT format('%s %s %s', tgrelid::regclass, tgname, tgenabled) AS hook FROM pg_trigger WHERE NOT tgisinternal
     UNION ALL SELECT format('%s %s %s', ev_class::regclass, rulename, ev_enabled) FROM pg_rewrite
                WHERE ev_class IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)`,
  );
  return rows.map((row) => row.hook).toSorted();
}

async function keysOf({ database }: Pick<Target, 'database'>): Promise<string[]> {
  const { rows } = await database.client.query<{ key: string }>(
    `SELECT format('%s %s %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated, obj_description(oid)) AS key
       FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace`,
  );
  return rows.map((row) => row.key).toSorted();
}
