import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfig } from '#core/config-load.ts';
import { requireReadySource } from '../../services/producer/preflight.ts';
import { requireReadyTarget } from '../../services/sink/preflight.ts';
import { runCli } from '../harness/cli.ts';
import { runCommand } from '../harness/command.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';
import { findTraces } from '../harness/traces.ts';
import { until } from '../harness/until.ts';

const SLOT = 'bad_life';
const quiet = pino({ level: 'silent' });

let source: TestDatabase;
let target: TestDatabase;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'restage-life-'));
  [source, target] = await Promise.all([createDatabase(15, 'life_source'), createDatabase(15, 'life_target')]);
  await source.client.query('CREATE TABLE public.orders (id int PRIMARY KEY); INSERT INTO public.orders VALUES (1)');
});

afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

/** Kafka keeps what earlier runs wrote: each has a name of its own, that of its database. */
function nameOf(kind: string): string {
  return `${kind}-${source.name.replaceAll('_', '-')}`;
}

function textOf(name: string): string {
  return `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, slot: ${SLOT} }
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: require }]
`;
}

function write(name: string): string {
  const file = path.join(folder, `${name}.yaml`);
  writeFileSync(file, textOf(name));
  return file;
}

test('a stand-by passes while a pipeline lives, others are refused and change nothing', async () => {
  const name = nameOf('own');
  const file = write(name);
  const stop = new AbortController();
  const producer = runCommand(['producer', '-c', file], stop.signal);
  try {
    const read = 'SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active';
    await until(async () => (await source.client.query(read, [SLOT])).rowCount === 1, { what: 'the slot to be read' });
    const config = loadConfig(textOf(name), file, {});
    await until(async () => (await requireReadySource(config, quiet)).last?.plan != null, { what: 'a plan in Kafka' });

    const before = await findTraces(source.url, target.url, name);
    const sink = await runCli(['sink', '-c', file, '--target', 'new']);
    expect(sink, sink.stderr).toMatchObject({ code: 2 });
    for (const part of ['schema_missing', 'public.orders', 'schema: copy']) expect(sink.stderr).toContain(part);
    expect(sink.stderr).not.toContain(new URL(source.url).password);
    expect(await findTraces(source.url, target.url, name)).toEqual(before);

    const rules = '[{ table: public.ordres, columns: { drop: [id] } }]';
    const ruled = path.join(folder, 'ruled.yaml');
    writeFileSync(ruled, `${textOf(name)}transform: { outputs: [{ name: main, rules: ${rules} }] }\n`);
    const transformer = await runCommand(['transformer', '-c', ruled]);
    expect(transformer, transformer.text).toMatchObject({ code: 2 });
    for (const part of ['rule_invalid', 'public.ordres', 'did you mean public.orders?'])
      expect(transformer.text).toContain(part);
    expect(await findTraces(source.url, target.url, name)).toEqual(before);

    await target.client.query('CREATE TABLE public.orders (id int PRIMARY KEY)');
    const foreign = await runCommand(['run', '-c', write(nameOf('other'))]);
    expect(foreign, foreign.text).toMatchObject({ code: 4 });
    for (const part of ['slot_foreign', SLOT, `restage ${name} producer`]) expect(foreign.text).toContain(part);
    expect((await findTraces(source.url, target.url, nameOf('other'))).topics).toEqual([]);
  } finally {
    stop.abort();
  }
  expect(await producer).toMatchObject({ code: 0 });
});

test('the slot of a pipeline is gone: its producer does not begin anew', async () => {
  const name = nameOf('own');
  await source.client.query('SELECT pg_drop_replication_slot($1)', [SLOT]);
  const before = await findTraces(source.url, target.url, name);
  for (const [command, code] of [
    ['producer', 4],
    ['run', 4],
    ['check', 1],
  ] as const) {
    const gone = await runCommand([command, '-c', write(name)]);
    expect(gone.code, gone.text).toBe(code);
    for (const part of ['the replication slot is gone', SLOT, 'under another name']) expect(gone.text).toContain(part);
  }
  expect(await findTraces(source.url, target.url, name)).toEqual(before);
});

test('a position of another life, or of more history than Kafka has, is refused', async () => {
  await target.client.query(`
    CREATE SCHEMA restage;
    CREATE TABLE restage.checkpoint (
      pipeline text, format int, incarnation text, pass int, plan_offset bigint, next_offset bigint, through pg_lsn, load_done boolean)`);
  const name = nameOf('own');
  await target.client.query("INSERT INTO restage.checkpoint VALUES ($1, 1, 'another', 2, 0, 0, '0/1', true)", [name]);
  const config = loadConfig(textOf(name), 'life.yaml', {});
  const [first] = config.targets;
  if (first === undefined) throw new Error('the configuration has no target');
  await expect(requireReadyTarget(config, first, quiet)).rejects.toMatchObject({ code: 'state_foreign' });
  await target.client.query('UPDATE restage.checkpoint SET plan_offset = 1000000');
  await expect(requireReadyTarget(config, first, quiet)).rejects.toMatchObject({ code: 'history_lost' });
});
