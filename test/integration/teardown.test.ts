import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfig } from '#core/config-load.ts';
import type { Config } from '#core/config.ts';
import { readDdlTrigger } from '#adapters/postgres/source/ddl-trigger.ts';
import { listSubjects, registerSchema } from '#adapters/registry/schema-registry.ts';
import { Infrastructure } from '#infra/infrastructure.ts';
import { isLongRun } from '../harness/chaos/long-run.ts';
import { runCli, startCli } from '../harness/cli.ts';
import { runCommand } from '../harness/command.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { openAdmin } from '../harness/kafka-admin.ts';
import { startService } from '../harness/run-service.ts';
import { servicesOf } from '../harness/service-processes.ts';
import { testKafka } from '../harness/servers.ts';
import { findTraces } from '../harness/traces.ts';
import { until } from '../harness/until.ts';

const LIVES = isLongRun() ? 20 : 5;
let source: TestDatabase;
let target: TestDatabase;
let folder: string;
let name: string;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'teardown-'));
  [source, target] = await Promise.all([createDatabase(15, 'down_source'), createDatabase(15, 'down_target')]);
  name = `down-${source.name.slice(-10)}`;
  await source.client.query(`
    CREATE TABLE public.a (id int PRIMARY KEY, v text); INSERT INTO public.a SELECT i, 'x' FROM generate_series(1, 100) i;
    CREATE SCHEMA other; CREATE TABLE other."Odd.Name" (id int PRIMARY KEY); INSERT INTO other."Odd.Name" VALUES (1)`);
});

afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

function textOf(url = target.url, more = ''): string {
  return `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, tables: ["public.*", "other.*"], keepSnapshotMinutes: 0 }
transform: { outputs: [{ name: main }] }
targets:
  - { name: new, postgres: { url: "${url}" }, schema: create }
${more}`;
}

function write(text: string, file = 'down.yaml'): string {
  const full = path.join(folder, file);
  writeFileSync(full, text);
  return full;
}

/** All that a pipeline may leave. */
async function traces(): Promise<object> {
  await using admin = await openAdmin();
  const groups = (await admin.listGroups()).groups.map(({ groupId }) => groupId).filter((id) => id.includes(name));
  const sql = `SELECT application_name AS name FROM pg_stat_activity WHERE application_name LIKE '%' || $1 || '%'`;
  const sessions = (await source.client.query<{ name: string }>(sql, [name])).rows;
  const roles = (await source.client.query(`SELECT rolname FROM pg_roles ORDER BY 1`)).rows;
  const hidden = (await source.client.query(`SELECT evtname FROM pg_event_trigger`)).rows;
  return { ...(await findTraces(source.url, target.url, name)), groups, sessions, roles, hidden };
}

async function live(config: Config): Promise<void> {
  await using producer = startService('producer', config);
  await using transformer = startService('transformer', config, 'main');
  await using sink = startService('sink', config, 'new');
  await Promise.all([producer.streaming(), transformer.streaming(), sink.streaming()]);
  await until(() => sink.status.load.isDone, { what: 'the load done' });
}

async function emptyTarget(): Promise<void> {
  await target.client.query('DROP TABLE public.a; DROP SCHEMA other CASCADE');
}

test('life after life, each end leaves nothing but the rows', async () => {
  const file = write(textOf());
  const config = loadConfig(textOf(), file, {});
  const before = await traces();
  for (let life = 1; life <= LIVES; life += 1) {
    await live(config);
    const end = await runCommand(['teardown', '-c', file, '--yes']);
    expect(end, `life ${life}: ${end.text}`).toMatchObject({ code: 0 });
    expect((await target.client.query('SELECT FROM public.a')).rowCount).toBe(100);
    await emptyTarget();
    expect(await traces(), `life ${life}`).toEqual(before);
  }
});

test('it asks, says what it would do, spares what is not ours, and goes on where it was cut short', async () => {
  const file = write(textOf());
  const config = loadConfig(textOf(), file, {});
  const publication = `restage_${name.replaceAll('-', '_')}`;
  await source.client.query(`CREATE PUBLICATION ${publication} FOR TABLE ONLY public.a, ONLY other."Odd.Name"`);
  await using admin = await openAdmin();
  await admin.createTopics({ topics: [{ topic: `${name}.orders`, numPartitions: 1, replicationFactor: 1 }] });
  await target.client.query('CREATE SCHEMA restage; CREATE TABLE restage.mine (id int)');
  await live(config);
  // A teardown takes the audit away with its own note, which is kept here as it is written.
  expect(await runCommand(['pause', '-c', file])).toMatchObject({ code: 0 });
  await target.client.query(`CREATE TABLE public.kept (record text);
    CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.kept VALUES (NEW.record); RETURN NULL; END';
    CREATE TRIGGER keep AFTER INSERT ON restage.migration_record FOR EACH ROW EXECUTE FUNCTION public.keep()`);
  const before = await traces();

  expect(await runCommand(['teardown', '-c', file])).toMatchObject({ code: 2 });
  const dry = await runCli(['teardown', '-c', file, '--dry-run', '--json']);
  const planned = JSON.parse(dry.stdout) as {
    removed: { kind: string; name: string }[];
    left: { kind: string; name: string }[];
  };
  expect(planned.left.map(({ kind, name: one }) => `${kind} ${one}`).toSorted()).toEqual([
    `publication ${publication}`,
    `topic ${name}.orders`,
  ]);
  expect(planned.removed.map(({ kind }) => kind)).toContain('event trigger');
  expect(await traces()).toEqual(before);
  expect(await readDdlTrigger(source.client)).toBe('there');

  const kept = 'SELECT FROM public.kept';
  expect((await target.client.query(kept)).rowCount).toBe(0);
  for (let time = 1; time <= 3; time += 1) {
    await using cli = startCli(['teardown', '-c', file, '--yes']);
    const isUnderWay = (): boolean => cli.stdout().includes('removed: ') || cli.hasEnded();
    await until(isUnderWay, { what: 'a first step', everyMs: 2 });
    cli.kill('SIGKILL');
    await cli.result();
  }
  expect((await target.client.query(`${kept} WHERE record LIKE '%"action":"teardown"%'`)).rowCount).toBeGreaterThan(0);
  await target.client.query('DROP TABLE public.kept; DROP FUNCTION public.keep CASCADE');
  expect(await runCommand(['teardown', '-c', file, '--yes'])).toMatchObject({ code: 0 });
  const last = await runCli(['teardown', '-c', file, '--yes', '--json']);
  expect(last.code).toBe(0);
  expect(JSON.parse(last.stdout)).toMatchObject({ removed: [] });
  expect(await findTraces(source.url, target.url, name)).toMatchObject({
    slots: [],
    publications: [publication],
    topics: [`${name}.orders`],
  });
  expect((await target.client.query(`SELECT to_regclass('restage.mine') IS NOT NULL AS is_there`)).rows).toEqual([
    { is_there: true },
  ]);
  await target.client.query('DROP SCHEMA restage CASCADE');
  await source.client.query(`DROP PUBLICATION ${publication}`);
  await admin.deleteTopics({ topics: [`${name}.orders`] });
  await emptyTarget();
});

test('event triggers stay as long as another pipeline over the database has a slot', async () => {
  const file = write(textOf());
  await live(loadConfig(textOf(), file, {}));
  const other = `name: ${name}-b
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, tables: ["public.*"] }
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: require }]
`;
  await using second = startService('producer', loadConfig(other, write(other, 'b.yaml'), {}));
  await second.streaming();
  const end = await runCommand(['teardown', '-c', file, '--yes']);
  expect(end, end.text).toMatchObject({ code: 0 });
  expect(end.text).toContain('event trigger');
  expect(await readDdlTrigger(source.client)).toBe('there');
  await second.drain();
  const last = await runCommand(['teardown', '-c', path.join(folder, 'b.yaml'), '--yes']);
  expect(last, last.text).toMatchObject({ code: 0 });
  expect(await readDdlTrigger(source.client)).toBe('none');
  await emptyTarget();
});

test('subjects of a registry stay until --registry, which finds them when the topics are gone, and no others', async () => {
  const infrastructure = await Infrastructure.open({ say: () => undefined, durable: false });
  try {
    const { url } = await infrastructure.startRegistry();
    const text = `name: ${name}
kafka: { brokers: ["${testKafka()}"], registry: { url: "${url}" } }
source: { profile: debezium, postgres: { url: "${source.url}" }, tables: ["public.*"] }
debezium: { format: avro }
`;
    const file = write(text, 'registry.yaml');
    await using producer = startService('producer', loadConfig(text, file, {}));
    await producer.streaming();
    await producer.drain();
    await registerSchema(url, `${name}.other-value`, '{"type":"string"}');
    const own = [`${name}.public.a-key`, `${name}.public.a-value`];
    expect(await listSubjects(url)).toEqual(expect.arrayContaining([...own, `${name}.other-value`]));
    expect((await runCommand(['teardown', '-c', file, '--yes'])).text).toContain('goes with --registry');
    expect(await listSubjects(url)).toEqual(expect.arrayContaining(own));
    const end = await runCommand(['teardown', '-c', file, '--yes', '--registry']);
    expect(end, end.text).toMatchObject({ code: 0 });
    expect(await listSubjects(url)).toEqual([`${name}.other-value`]);
  } finally {
    await infrastructure.stop();
  }
});

test('a pipeline at work is spared, or told to end; a target out of reach is said', async () => {
  const file = write(textOf());
  const temporary = path.join(folder, 'tmp');
  mkdirSync(temporary);
  await using run = startCli(['run', '-c', file], { TMPDIR: temporary });
  const isDone = async (): Promise<boolean> => {
    const status = await runCommand(['status', '-c', file, '--json']);
    return /"isLoadDone":true/.test(status.text);
  };
  await until(isDone, { what: 'the load done', timeoutMs: 60_000, everyMs: 500 });
  const services = await servicesOf(run.pid, file);
  expect(services).toHaveLength(3);

  const refused = await runCli(['teardown', '-c', file, '--yes']);
  expect(refused, refused.stderr).toMatchObject({ code: 2 });
  for (const part of ['at work', 'producer', 'sink new', '--force']) expect(refused.stderr).toContain(part);

  const away = write(textOf(target.url.replace(/:\d+\//, ':1/')), 'away.yaml');
  const forced = await runCli(['teardown', '-c', away, '--yes', '--force']);
  expect(forced, forced.stdout + forced.stderr).toMatchObject({ code: 3 });
  expect(forced.stdout).toContain('target_unreachable');
  expect(await run.result()).toMatchObject({ code: 0 });
  expect(await servicesOf(run.pid, file)).toEqual([]);
  expect(readdirSync(temporary)).toEqual([]);

  expect(await runCommand(['teardown', '-c', file, '--yes'])).toMatchObject({ code: 0 });
  await emptyTarget();
  expect(await findTraces(source.url, target.url, name)).toEqual({
    slots: [],
    publications: [],
    target: ['public.'],
    topics: [],
  });
});
