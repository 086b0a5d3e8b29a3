import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectPg } from '#adapters/postgres/session.ts';
import { Infrastructure } from '#infra/infrastructure.ts';
import {
  DEBEZIUM_CHANGES,
  DEBEZIUM_ROWS_SQL,
  DEBEZIUM_TABLE_NAMES,
  DEBEZIUM_TABLES_SQL,
} from '../corpus/debezium-values.ts';
import { startCli, type CliProcess } from '../harness/cli.ts';
import { runCommand } from '../harness/command.ts';
import { startConnectWorker, type ConnectWorker } from '../harness/connect-worker.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { differingValues } from '../harness/kept-values.ts';
import { testKafka } from '../harness/servers.ts';
import { readTopics } from '../harness/topic-records.ts';
import { until } from '../harness/until.ts';

const LIMIT_MS = 240_000;

function columns(text: string): ReadonlySet<string> {
  return new Set(text.split(/\s+/).filter((one) => one !== ''));
}

/** What Debezium has no form for, or loses whatever its options are. */
const LOST = `typed.c_pair typed.c_int4multirange typed.c_tsquery typed.c_pg_lsn typed.c_jsonpath typed.c_xid typed.c_line typed.c_box
  typed.c_polygon typed.c_circle typed.a_money typed.c_name typed.c_varbit10 typed.c_timetz typed.a_time typed.a_mood required.tz required.nm`;
const LOST_PRECISE = columns(
  `${LOST} typed.c_numeric_free typed.a_numeric_free required.nf typed.c_interval required.iv toasted.x`,
);
/** Milliseconds, and NULL for bytea that did not change. */
const LOST_OTHERS = columns(`${LOST} typed.c_time typed.c_timestamp typed.a_timestamp toasted.b stock.hour`);

const OTHERS = {
  'decimal.handling.mode': 'string',
  'time.precision.mode': 'connect',
  'interval.handling.mode': 'string',
  'binary.handling.mode': 'base64',
  'hstore.handling.mode': 'map',
  'skipped.operations': 'none',
};
const KEYED = DEBEZIUM_TABLE_NAMES.filter((table) => table !== 'keyless');
const ACCOUNTS_SQL = `
  CREATE TABLE acct_a (id int4 PRIMARY KEY, n int8 NOT NULL, pad text);
  CREATE TABLE acct_b (id int4 PRIMARY KEY, n int8 NOT NULL, parent int4 REFERENCES acct_a DEFERRABLE);
  CREATE TABLE again (id int4 PRIMARY KEY, v text);
  CREATE TABLE chunked (id int4 PRIMARY KEY, v int4, big text);
  ALTER TABLE acct_a ALTER pad SET STORAGE EXTERNAL; ALTER TABLE chunked ALTER big SET STORAGE EXTERNAL;`;
const ACCOUNTS = ['acct_a', 'acct_b'] as const;
const TOTAL = 40_000;

const WHOLE = {
  'provide.transaction.metadata': 'true',
  'skipped.operations': 'none',
  'table.include.list': tableList([...DEBEZIUM_TABLE_NAMES, ...ACCOUNTS]),
};
const BARE = {
  'provide.transaction.metadata': 'true',
  'skipped.operations': 'none',
  'time.precision.mode': 'isostring',
  'key.converter.schemas.enable': 'false',
  'value.converter.schemas.enable': 'false',
  'key.converter': 'org.apache.kafka.connect.json.JsonConverter',
  'value.converter': 'org.apache.kafka.connect.json.JsonConverter',
};
const INCREMENTAL = {
  'snapshot.mode': 'no_data',
  'signal.data.collection': 'public.signals',
  'table.include.list': tableList(['chunked', 'signals']),
};

let source: TestDatabase;
let worker: ConnectWorker;
let infrastructure: Infrastructure;
let registry: string;
let dir: string;
const targets = new Map<string, TestDatabase>();
/** The running ones, by name. */
const processes = new Map<string, CliProcess>();

beforeAll(async () => {
  source = await createDatabase(15, 'theirs');
  await source.client.query(DEBEZIUM_TABLES_SQL);
  await source.client.query(ACCOUNTS_SQL);
  await source.client.query('CREATE TABLE signals (id text PRIMARY KEY, type text, data text)');
  await source.client.query(DEBEZIUM_ROWS_SQL);
  await source.client.query(`INSERT INTO acct_a SELECT n, 1000, repeat(md5(n::text), 200) FROM generate_series(1, 20) n;
    INSERT INTO acct_b SELECT n, 1000, n FROM generate_series(1, 20) n;
    INSERT INTO again SELECT n, 'v' || n FROM generate_series(1, 5) n;
    INSERT INTO chunked SELECT n, n, repeat(md5(n::text), 200) FROM generate_series(1, 9) n`);
  infrastructure = await Infrastructure.open({ say: () => undefined, durable: false });
  dir = await mkdtemp(path.join(tmpdir(), 'restage-theirs-'));
  [worker, { url: registry }] = await Promise.all([startConnectWorker(), infrastructure.startRegistry()]);
  await Promise.all([
    addConnector('whole', WHOLE),
    addConnector('singly', SINGLY()),
    addConnector('bare', { ...BARE, 'table.include.list': tableList(DEBEZIUM_TABLE_NAMES) }),
    addConnector('incremental', INCREMENTAL),
    startProducer(),
  ]);
  await Promise.all([
    startSink('whole', wholeSource()),
    startSink('singly', `topics: ["${prefix('singly')}.*"]\n    binary.handling.mode: base64`),
    startSink(
      'bare',
      `topics: ["${prefix('bare')}.*"]\n    transaction.topic: ${prefix('bare')}.transaction\n    schemas.enable: false\n    decimal.handling.mode: precise\n    time.precision.mode: isostring`,
    ),
    startSink(
      'avro',
      `topics: ["${prefix('avro')}.public.*"]\n    format: avro\n    transaction.topic: ${prefix('avro')}.transaction`,
    ),
  ]);
  for (const change of DEBEZIUM_CHANGES) await source.client.query(change);
}, LIMIT_MS);

afterAll(async () => {
  await Promise.all([...processes.values()].map((one) => one[Symbol.asyncDispose]()));
  await worker[Symbol.asyncDispose]();
  await Promise.all([infrastructure.stop(), rm(dir, { recursive: true })]);
  for (const target of targets.values()) await target[Symbol.asyncDispose]();
  await source[Symbol.asyncDispose]();
}, LIMIT_MS);

test.each([
  { name: 'whole', how: 'JSON with schemas, whole transactions', tables: DEBEZIUM_TABLE_NAMES, leftOut: LOST_PRECISE },
  { name: 'singly', how: 'other modes, no transactions', tables: KEYED, leftOut: LOST_OTHERS },
  { name: 'bare', how: 'JSON without schemas', tables: DEBEZIUM_TABLE_NAMES, leftOut: LOST_PRECISE },
  { name: 'avro', how: "Avro, of Restage's own topics", tables: DEBEZIUM_TABLE_NAMES, leftOut: LOST_PRECISE },
])('$how: the target has every value that events have', async ({ name, tables, leftOut }) => {
  await settled(name, tables, leftOut);
});

test('commands know that there is no source of their own', async () => {
  const file = fileOf('whole');
  expect(await runCommand(['wait', '-c', file, '--target', 'new', '--timeout', '30'])).toMatchObject({ code: 0 });
  const status = await runCommand(['status', '-c', file, '--json']);
  expect(JSON.parse(status.text)).toMatchObject({
    services: [{ service: 'sink', state: 'streaming', load: { isDone: true } }],
    targets: [{ isLoadDone: true }],
    problems: [],
  });
  const refused = await runCommand(['verify', '-c', file, '--target', 'new']);
  expect(refused.code).toBe(2);
  expect(refused.text).toContain("verify needs the source itself, and this pipeline reads Debezium's topics");
  const check = await runCommand(['check', '-c', file]);
  expect(check.code, check.text).toBe(0);
  expect(check.text).toContain('debezium.unchanged');
});

test(
  'a snapshot that is taken again leaves no row that is gone from the source',
  async () => {
    await addConnector('again', AGAIN);
    await startSink('again', `topics: ["${prefix('again')}.public.again"]`);
    await settled('again', ['again'], new Set());
    await worker.remove(prefix('again'));
    await source.client.query(
      `DELETE FROM again WHERE id = 2; UPDATE again SET v = 'new' WHERE id = 3; INSERT INTO again VALUES (6, 'v6')`,
    );
    await addConnector('again', AGAIN, '_2');
    await settled('again', ['again'], new Set());
  },
  LIMIT_MS,
);

test(
  'an incremental snapshot brings rows whose values an update before it left out',
  async () => {
    const topic = `${prefix('incremental')}.public.chunked`;
    await source.client.query('UPDATE chunked SET v = v + 100 WHERE id < 4');
    await readTopics([topic], (records) => records.length === 3);
    const sink = await startSink('incremental', `topics: ["${topic}"]`);
    const missing = async (): Promise<number | null> =>
      (await targetOf('incremental').client.query('SELECT FROM restage.debezium_missing')).rowCount;
    await until(async () => (await missing()) === 3, { what: 'three rows to wait for their values' });
    expect((await targetOf('incremental').client.query('SELECT FROM chunked')).rowCount).toBe(0);
    await source.client.query(
      `INSERT INTO signals VALUES ('one', 'execute-snapshot', '{"data-collections": ["public.chunked"], "type": "incremental"}')`,
    );
    await settled('incremental', ['chunked'], new Set());
    expect(await missing()).toBe(0);
    expect(sink.hasEnded()).toBe(false);
  },
  LIMIT_MS,
);

test(
  'a target shows whole transactions only, while Debezium and the sink are killed and repeat themselves',
  async () => {
    const target = targetOf('whole');
    const seen = new Set<string>();
    const watch = watchTotals(target, seen);
    for (let round = 0; round < 60; round += 1) {
      await transfer(round);
      if (round === 20) await worker.crash();
      if (round === 20) await Promise.all([addConnector('whole', WHOLE), addConnector('singly', SINGLY())]);
      if (round === 10 || round === 30) await restartKilled('whole', round === 10 ? 'before' : 'after');
      if (round === 40) await restartKilled('singly', 'after');
    }
    await settled('whole', [...DEBEZIUM_TABLE_NAMES, ...ACCOUNTS], LOST_PRECISE);
    await settled('singly', [...KEYED, ...ACCOUNTS], LOST_OTHERS);
    expect(await watch()).toEqual([]);
    expect(seen.size).toBeGreaterThan(5);
  },
  LIMIT_MS,
);

const AGAIN = { 'snapshot.mode': 'always', 'table.include.list': 'public.again' };

function SINGLY(): Readonly<Record<string, string>> {
  return { ...OTHERS, 'table.include.list': tableList([...KEYED, ...ACCOUNTS]) };
}

function tableList(tables: readonly string[]): string {
  return tables.map((table) => `public.${table}`).join(',');
}

function wholeSource(): string {
  return `topics: ["${prefix('whole')}.public.*"]\n    transaction.topic: ${prefix('whole')}.transaction`;
}

/** One transaction over two tables: a sum, TOASTed values that stay, a key that moves, and a row that is changed twice. */
async function transfer(round: number): Promise<void> {
  const [from, to] = [1 + (round % 20), 1 + ((round * 7) % 20)];
  await source.client.query(`BEGIN;
    UPDATE acct_a SET n = n - 7 WHERE id % 100 = ${from}; UPDATE acct_b SET n = n + 7 WHERE id = ${from};
    UPDATE acct_a SET n = n + 5 WHERE id % 100 = ${to}; UPDATE acct_b SET n = n - 5 WHERE id = ${to};
    SET CONSTRAINTS ALL DEFERRED;
    UPDATE acct_a SET id = id + CASE WHEN id > 100 THEN -100 ELSE 100 END WHERE id % 100 = ${from};
    UPDATE acct_b SET parent = (SELECT id FROM acct_a WHERE id % 100 = ${from}) WHERE parent % 100 = ${from};
    COMMIT`);
}

/** Reads both sums in one statement until it is told to end; what was seen of a part of a transaction comes back. */
function watchTotals(target: TestDatabase, seen: Set<string>): () => Promise<string[]> {
  const wrong: string[] = [];
  const over = new AbortController();
  const watching = (async () => {
    await using session = await openSession(target.url);
    while (!over.signal.aborted) {
      const { rows } = await session.client.query<{ a: string; total: string }>(
        'SELECT (SELECT sum(n * (id % 100)) FROM public.acct_a)::text AS a, ((SELECT sum(n) FROM public.acct_a) + (SELECT sum(n) FROM public.acct_b))::text AS total',
      );
      seen.add(rows[0]?.a ?? '');
      if (rows[0]?.total !== String(TOTAL)) wrong.push(rows[0]?.total ?? 'NULL');
    }
  })();
  watching.catch((error: unknown) => wrong.push(String(error)));
  return async () => {
    over.abort();
    await watching;
    return wrong;
  };
}

async function openSession(url: string): Promise<AsyncDisposable & { readonly client: pg.Client }> {
  const client = await connectPg({ url, purpose: 'target', application: 'restage test' });
  return { client, [Symbol.asyncDispose]: () => client.end() };
}

/** Puts a sink in the place of the running one that kills itself at a COMMIT, then one that goes on. */
async function restartKilled(name: string, side: 'before' | 'after'): Promise<void> {
  const [running, options] = [processes.get(name), configs.get(name)];
  if (running === undefined || options === undefined) throw new Error(`no sink ${name}`);
  running.kill('SIGKILL');
  await running.result();
  const killed = await startSink(name, options, { RESTAGE_FAILPOINTS: `sink.epoch.${side}=kill` });
  await transfer(99);
  expect((await killed.result()).signal).toBe('SIGKILL');
  await startSink(name, options);
}

function prefix(name: string): string {
  return `${name}_${source.name}`;
}

/** `life`: of its offsets; another one begins without any, under the same topics. */
async function addConnector(name: string, options: Readonly<Record<string, string>>, life = ''): Promise<void> {
  const connector = `${prefix(name)}${life}`;
  const url = new URL(source.url);
  await worker.add(connector, {
    'connector.class': 'io.debezium.connector.postgresql.PostgresConnector',
    'plugin.name': 'pgoutput',
    'database.hostname': url.hostname,
    'database.port': url.port,
    'database.user': decodeURIComponent(url.username),
    'database.password': decodeURIComponent(url.password),
    'database.dbname': source.name,
    'topic.prefix': prefix(name),
    'slot.name': connector,
    'publication.name': connector,
    'schema.include.list': 'public',
    'publication.autocreate.mode': 'filtered',
    'topic.creation.default.replication.factor': '1',
    'topic.creation.default.partitions': '1',
    'poll.interval.ms': '50',
    ...options,
  });
  await until(
    async () => {
      const failed = await worker.failure(connector);
      if (failed !== null) throw new Error(failed);
      const { rows } = await source.client.query('SELECT FROM pg_replication_slots WHERE active AND slot_name = $1', [
        connector,
      ]);
      return rows.length === 1;
    },
    { what: `connector ${name} to stream`, timeoutMs: 120_000 },
  );
}

async function startProducer(): Promise<void> {
  const name = prefix('avro');
  const file = path.join(dir, `${name}.yaml`);
  await writeFile(
    file,
    `name: ${name}
kafka: { brokers: ["${testKafka()}"], registry: { url: "${registry}" } }
source: { profile: debezium, postgres: { url: "${source.url}" }, tables: ["public.*"] }
debezium: { format: avro, provide.transaction.metadata: true, skipped.operations: none }
`,
  );
  processes.set('producer', startCli(['producer', '-c', file]));
  await until(
    async () =>
      (
        await source.client.query('SELECT FROM pg_replication_slots WHERE active AND slot_name = $1', [
          `restage_${name}`,
        ])
      ).rowCount === 1,
    { what: 'the producer to stream' },
  );
}

function fileOf(name: string): string {
  return path.join(dir, `${name}.yaml`);
}

function targetOf(name: string): TestDatabase {
  const target = targets.get(name);
  if (target === undefined) throw new Error(`no target ${name}`);
  return target;
}

const configs = new Map<string, string>();

async function startSink(name: string, debezium: string, env: NodeJS.ProcessEnv = {}): Promise<CliProcess> {
  configs.set(name, debezium);
  if (!targets.has(name)) {
    const made = await createDatabase(15, 'ours');
    targets.set(name, made);
    await made.client.query(DEBEZIUM_TABLES_SQL);
    await made.client.query(ACCOUNTS_SQL);
    await made.client.query('ALTER TABLE pairs ADD COLUMN later int8 NOT NULL DEFAULT 7');
  }
  await writeFile(
    fileOf(name),
    `name: ${prefix(name)}_sink
kafka: { brokers: ["${testKafka()}"], registry: { url: "${registry}" } }
source:
  debezium:
    ${debezium}
targets:
  - { name: new, postgres: { url: "${targetOf(name).url}" } }
`,
  );
  const sink = startCli(['sink', '-c', fileOf(name), '--target', 'new'], env);
  processes.set(name, sink);
  return sink;
}

async function settled(name: string, tables: readonly string[], leftOut: ReadonlySet<string>): Promise<void> {
  let last: string[] = [];
  const state = await until(
    async () => {
      for (const one of [name, 'producer'])
        if (processes.get(one)?.hasEnded() === true) return processes.get(one)?.stderr().slice(-3_000);
      last = await differingValues(source.client, targetOf(name).client, tables, leftOut);
      return last.length === 0;
    },
    { what: `target ${name} to be equal`, timeoutMs: 90_000 },
  ).catch(() => [...last.slice(0, 12), processes.get(name)?.stderr().slice(-2_000)]);
  expect(state).toBe(true);
}
