import { Kafka, logLevel } from 'kafkajs';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectPg } from '#adapters/postgres/session.ts';
import {
  DEBEZIUM_CHANGES,
  DEBEZIUM_ROWS_SQL,
  DEBEZIUM_TABLE_NAMES,
  DEBEZIUM_TABLES_SQL,
} from '../corpus/debezium-values.ts';
import { pause } from '#core/backoff.ts';
import { runCommand } from '../harness/command.ts';
import { avroConverter } from '../harness/connect-worker.ts';
import type { TestDatabase } from '../harness/database.ts';
import { DebeziumPipelines } from '../harness/debezium-pipelines.ts';
import { testKafka } from '../harness/servers.ts';
import { readTopics } from '../harness/topic-records.ts';
import { until } from '../harness/until.ts';

const LIMIT_MS = 240_000;
/** Between two looks at a target: who never rests takes the sinks' processor. */
const LOOK_MS = 5;

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
  CREATE TABLE again (id int4 PRIMARY KEY, v text); CREATE TABLE emptied (id int4 PRIMARY KEY);
  CREATE TABLE chunked (id int4 PRIMARY KEY, v int4, big text);
  ALTER TABLE acct_a ALTER pad SET STORAGE EXTERNAL; ALTER TABLE chunked ALTER big SET STORAGE EXTERNAL;`;
const ACCOUNTS = ['acct_a', 'acct_b'] as const;
const TOTAL = 40_000;
const HUGE = 10_000;

const WHOLE = {
  'provide.transaction.metadata': 'true',
  'skipped.operations': 'none',
  'table.include.list': tableList([...DEBEZIUM_TABLE_NAMES, ...ACCOUNTS]),
};
const WHOLE_AVRO = {
  ...WHOLE,
  'table.include.list': tableList(DEBEZIUM_TABLE_NAMES),
  'schema.name.adjustment.mode': 'avro',
  'field.name.adjustment.mode': 'avro',
};
const SINGLY = { ...OTHERS, 'table.include.list': tableList([...KEYED, ...ACCOUNTS]) };
const BARE = {
  'table.include.list': tableList(DEBEZIUM_TABLE_NAMES),
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

const SIGNALS_SQL = 'CREATE TABLE signals (id text PRIMARY KEY, type text, data text);';
const MORE_ROWS_SQL = `
  INSERT INTO acct_a SELECT n, 1000, repeat(md5(n::text), 200) FROM generate_series(1, 20) n;
  INSERT INTO acct_b SELECT n, 1000, n FROM generate_series(1, 20) n;
  INSERT INTO again SELECT n, 'v' || n FROM generate_series(1, 5) n; INSERT INTO emptied VALUES (1), (2);
  INSERT INTO chunked SELECT n, n, repeat(md5(n::text), 200) FROM generate_series(1, 9) n;`;
const TARGET_SQL = `${DEBEZIUM_TABLES_SQL} ${ACCOUNTS_SQL} ALTER TABLE pairs ADD COLUMN later int8 NOT NULL DEFAULT 7;`;

let all: DebeziumPipelines;

beforeAll(async () => {
  const sql = [DEBEZIUM_TABLES_SQL, ACCOUNTS_SQL, SIGNALS_SQL, DEBEZIUM_ROWS_SQL, MORE_ROWS_SQL];
  all = await DebeziumPipelines.open(sql.join('\n'), TARGET_SQL);
  const [whole, singly, bare, avro] = [
    all.prefix('whole'),
    all.prefix('singly'),
    all.prefix('bare'),
    all.prefix('avro'),
  ];
  await Promise.all([
    all.addConnector('whole', WHOLE),
    all.addConnector('singly', SINGLY),
    all.addConnector('bare', BARE),
    all.addConnector('incremental', INCREMENTAL),
    all.addConnector('registered', { ...WHOLE_AVRO, ...avroConverter(all.registry) }),
    all.startProducer('avro'),
  ]);
  await Promise.all([
    all.startSink('whole', `topics: ["${whole}.public.*"]\n transaction.topic: ${whole}.transaction`),
    all.startSink('singly', `topics: ["${singly}.*"]\n binary.handling.mode: base64`),
    all.startSink(
      'bare',
      `topics: ["${bare}.*"]\n transaction.topic: ${bare}.transaction
       schemas.enable: false\n decimal.handling.mode: precise\n time.precision.mode: isostring`,
    ),
    all.startSink(
      'registered',
      `topics: ["${all.prefix('registered')}.public.*"]\n format: avro\n transaction.topic: ${all.prefix('registered')}.transaction`,
    ),
    all.startSink('avro', `topics: ["${avro}.public.*"]\n format: avro\n transaction.topic: ${avro}.transaction`),
  ]);
  for (const change of DEBEZIUM_CHANGES) await all.source.client.query(change);
}, LIMIT_MS);

afterAll(async () => {
  await all[Symbol.asyncDispose]();
}, LIMIT_MS);

test.each([
  { name: 'whole', how: 'JSON with schemas, whole transactions', tables: DEBEZIUM_TABLE_NAMES, leftOut: LOST_PRECISE },
  { name: 'singly', how: 'other modes, no transactions', tables: KEYED, leftOut: LOST_OTHERS },
  { name: 'bare', how: 'JSON without schemas', tables: DEBEZIUM_TABLE_NAMES, leftOut: LOST_PRECISE },
  { name: 'registered', how: 'Avro of an AvroConverter', tables: DEBEZIUM_TABLE_NAMES, leftOut: LOST_PRECISE },
  { name: 'avro', how: "Avro, of Restage's own topics", tables: DEBEZIUM_TABLE_NAMES, leftOut: LOST_PRECISE },
])('$how: the target has every value that events have', async ({ name, tables, leftOut }) => {
  expect(await all.differences(name, tables, leftOut)).toEqual([]);
});

test('commands know that there is no source of their own', async () => {
  const file = all.fileOf('whole');
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
  expect(check.text).toContain('drops trailing zeros of a numeric without scale');
  const others = await runCommand(['check', '-c', all.fileOf('singly')]);
  expect(others.text).toContain('time.precision.mode=connect cuts to milliseconds');
});

test(
  'run keeps a sink through a snapshot that is taken again, which leaves no row that is gone from the source',
  async () => {
    await all.addConnector('again', AGAIN);
    await all.startSink('again', againSource(), {}, ['run']);
    expect(await all.differences('again', ['again', 'emptied'], new Set())).toEqual([]);
    expect((await runCommand(['status', '-c', all.fileOf('again')])).text).not.toContain('showed no row');
    await all.worker.remove(all.prefix('again'));
    await all.source.client.query(
      `DELETE FROM emptied; DELETE FROM again WHERE id = 2; UPDATE again SET v = 'new' WHERE id = 3; INSERT INTO again VALUES (6, 'v6')`,
    );
    expect(await runCommand(['pause', '-c', all.fileOf('again'), '--target', 'new'])).toMatchObject({ code: 0 });
    await until(async () => (await runCommand(['status', '-c', all.fileOf('again')])).text.includes('paused'), {
      what: 'the sink to pause',
    });
    await all.addConnector('again', AGAIN, '_2');
    expect(await runCommand(['wait', '-c', all.fileOf('again'), '--target', 'new', '--timeout', '0.5'])).toMatchObject({
      code: 1,
    });
    expect(await runCommand(['resume', '-c', all.fileOf('again'), '--target', 'new'])).toMatchObject({ code: 0 });
    expect(await all.differences('again', ['again'], new Set())).toEqual([]);
    // Debezium wrote nothing of it: nobody can tell that from a table that the snapshot left out.
    const isNamed = async (): Promise<boolean> =>
      /showed no row of .*: public\.emptied/.test((await runCommand(['status', '-c', all.fileOf('again')])).text);
    await until(isNamed, { what: 'status to name the table without rows in the snapshot' });
    const check = await runCommand(['check', '-c', all.fileOf('again')]);
    expect(check.text).toMatch(/debezium\.unshown[^]*public\.emptied/);
    await all.targetOf('again').client.query('DELETE FROM emptied');
    await until(async () => !(await isNamed()), { what: 'status to name it no more' });
  },
  LIMIT_MS,
);

test(
  'a record that cannot be read, and a topic that was made again, stop the sink by name',
  async () => {
    const topic = `${all.prefix('again')}.public.again`;
    await all.drainSink('again');
    const kafka = new Kafka({ brokers: [testKafka()], logLevel: logLevel.NOTHING });
    const [admin, producer] = [kafka.admin(), kafka.producer()];
    await Promise.all([admin.connect(), producer.connect()]);
    try {
      const [sent] = await producer.send({ topic, messages: [{ key: '{"payload":{}}', value: '{"schema":' }] });
      const stopped = await (await all.startSink('again', againSource())).result();
      expect(stopped.code).toBe(4);
      expect(stopped.stderr).toContain('record_invalid');
      expect(stopped.stderr).toContain(`topic ${topic}, partition 0, offset ${sent?.baseOffset}`);
      await all.worker.remove(`${all.prefix('again')}_2`);
      await admin.deleteTopics({ topics: [topic] });
      await until(async () => !(await admin.listTopics()).includes(topic), { what: 'the topic to be gone' });
      await admin.createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: 1 }] });
      await until(async () => (await admin.listTopics()).includes(topic), { what: 'the topic to be there again' });
      const lost = await (await all.startSink('again', againSource())).result();
      expect(lost.code).toBe(4);
      expect(lost.stderr).toContain('history_lost: the topic was deleted and made again');
      await admin.createPartitions({ topicPartitions: [{ topic, count: 2 }] });
      const split = await (await all.startSink('routed', againSource())).result();
      expect(split.stderr).toContain('a topic of Debezium has several partitions');
    } finally {
      await Promise.all([admin.disconnect(), producer.disconnect()]);
    }
  },
  LIMIT_MS,
);

test(
  'an incremental snapshot brings rows whose values an update before it left out',
  async () => {
    const topic = `${all.prefix('incremental')}.public.chunked`;
    await all.source.client.query('UPDATE chunked SET v = v + 100 WHERE id < 4');
    await readTopics([topic], (records) => records.length === 3);
    const sink = await all.startSink('incremental', `topics: ["${topic}"]`);
    const missing = async (): Promise<number | null> =>
      (await all.targetOf('incremental').client.query('SELECT FROM restage.debezium_missing')).rowCount;
    await until(async () => (await missing()) === 3, { what: 'three rows to wait for their values' });
    expect((await all.targetOf('incremental').client.query('SELECT FROM chunked')).rowCount).toBe(0);
    await all.source.client.query(
      `INSERT INTO signals VALUES ('one', 'execute-snapshot', '{"data-collections": ["public.chunked"], "type": "incremental"}')`,
    );
    expect(await all.differences('incremental', ['chunked'], new Set())).toEqual([]);
    expect(await missing()).toBe(0);
    expect(sink.hasEnded()).toBe(false);
  },
  LIMIT_MS,
);

test(
  'a target shows whole transactions only, while Debezium and the sink are killed and repeat themselves',
  async () => {
    const target = all.targetOf('whole');
    const seen = new Set<string>();
    const watch = watchTotals(target, seen);
    const killed: (NodeJS.Signals | null)[] = [];
    for (let round = 0; round < 60; round += 1) {
      const before = seen.size;
      await transfer(round);
      // Else a busy machine may take all of them at once.
      if (round % 10 === 5) await until(() => seen.size > before, { what: 'the target to move', timeoutMs: 90_000 });
      if (round === 20) await all.worker.crash();
      if (round === 20) await Promise.all([all.addConnector('whole', WHOLE), all.addConnector('singly', SINGLY)]);
      if (round === 10 || round === 30)
        killed.push(
          await all.restartKilled('whole', `sink.epoch.${round === 10 ? 'before' : 'after'}=kill`, () => transfer(99)),
        );
      if (round === 40) killed.push(await all.restartKilled('singly', 'sink.epoch.after=kill', () => transfer(98)));
    }
    // Many times what is kept in memory.
    const huge = `INSERT INTO acct_a SELECT n, 0, repeat('x', 300) FROM generate_series(1001, ${1000 + HUGE}) n`;
    killed.push(await all.restartKilled('whole', 'sink.part.before=kill:3', () => all.source.client.query(huge)));
    expect(killed).toEqual(['SIGKILL', 'SIGKILL', 'SIGKILL', 'SIGKILL']);
    expect(await all.differences('whole', [...DEBEZIUM_TABLE_NAMES, ...ACCOUNTS], LOST_PRECISE)).toEqual([]);
    expect(await all.differences('singly', [...KEYED, ...ACCOUNTS], LOST_OTHERS)).toEqual([]);
    expect(await watch()).toEqual([]);
    expect(seen.size).toBeGreaterThan(5);
  },
  LIMIT_MS,
);

const AGAIN = { 'snapshot.mode': 'always', 'table.include.list': 'public.again,public.emptied' };

function tableList(tables: readonly string[]): string {
  return tables.map((table) => `public.${table}`).join(',');
}

function againSource(): string {
  return `topics: ["${all.prefix('again')}.public.*"]`;
}

/** One transaction over two tables: a sum, TOASTed values that stay, a key that moves, and a row that is changed twice. */
async function transfer(round: number): Promise<void> {
  const [from, to] = [1 + (round % 20), 1 + ((round * 7) % 20)];
  await all.source.client.query(`BEGIN;
    UPDATE acct_a SET n = n - 7 WHERE id % 100 = ${from}; UPDATE acct_b SET n = n + 7 WHERE id = ${from};
    UPDATE acct_a SET n = n + 5 WHERE id % 100 = ${to}; UPDATE acct_b SET n = n - 5 WHERE id = ${to};
    SET CONSTRAINTS ALL DEFERRED; SELECT pg_logical_emit_message(true, 'test', 'counted by Debezium, of no table');
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
      const { rows } = await session.client.query<{ a: string; total: string; huge: string }>(
        'SELECT (SELECT sum(n * (id % 100)) FROM public.acct_a)::text AS a, ((SELECT sum(n) FROM public.acct_a) + (SELECT sum(n) FROM public.acct_b))::text AS total, (SELECT count(*) FROM public.acct_a WHERE id > 1000)::text AS huge',
      );
      seen.add(rows[0]?.a ?? '');
      if (rows[0]?.total !== String(TOTAL)) wrong.push(rows[0]?.total ?? 'NULL');
      if (rows[0]?.huge !== '0' && rows[0]?.huge !== String(HUGE)) wrong.push(`${rows[0]?.huge ?? ''} rows of ${HUGE}`);
      await pause(LOOK_MS);
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
