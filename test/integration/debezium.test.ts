import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createConnectionPool, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { readLastManifest } from '#adapters/kafka/last-manifest.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { shapedPrefix } from '#core/topic-names.ts';
import { Infrastructure } from '#infra/infrastructure.ts';
import {
  DEBEZIUM_CHANGES,
  DEBEZIUM_ROWS_SQL,
  DEBEZIUM_TABLE_NAMES,
  DEBEZIUM_TABLES_SQL,
} from '../corpus/debezium-values.ts';
import { AvroRecords, longsAreExact } from '../harness/avro-records.ts';
import { isLongRun } from '../harness/chaos/long-run.ts';
import { startCli, type CliProcess } from '../harness/cli.ts';
import { runCommand } from '../harness/command.ts';
import { avroConverter, startConnectWorker, type ConnectWorker } from '../harness/connect-worker.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { ALLOWED, ALLOWED_SHAPED } from '../harness/debezium-allowed.ts';
import { compareRecords, type AllowedDifference } from '../harness/debezium-diff.ts';
import { testKafka } from '../harness/servers.ts';
import { readTopics, type ReadRecord } from '../harness/topic-records.ts';
import { until } from '../harness/until.ts';

type Options = Readonly<Record<string, string>>;

const LIMIT_MS = 240_000;
const DEFAULTS: Options = { 'provide.transaction.metadata': 'true' };
/** What Avro cannot name: Restage does so by itself. */
const AVRO_NAMES: Options = { 'schema.name.adjustment.mode': 'avro', 'field.name.adjustment.mode': 'avro' };
const OTHERS: Options = {
  ...DEFAULTS,
  'decimal.handling.mode': 'string',
  'time.precision.mode': 'connect',
  'interval.handling.mode': 'string',
  'binary.handling.mode': 'base64',
  'hstore.handling.mode': 'map',
  'tombstones.on.delete': 'false',
  'skipped.operations': 'none',
  'extended.headers.enabled': 'false',
};
/** Every mode that the two above leave out. */
const MATRIX: readonly Options[] = [
  {
    ...DEFAULTS,
    'decimal.handling.mode': 'double',
    'time.precision.mode': 'isostring',
    'binary.handling.mode': 'hex',
    'unavailable.value.placeholder': 'gone',
  },
  { ...DEFAULTS, 'time.precision.mode': 'microseconds', 'binary.handling.mode': 'base64-url-safe' },
  { ...DEFAULTS, 'time.precision.mode': 'nanoseconds', 'hstore.handling.mode': 'map' },
  { ...DEFAULTS, 'time.precision.mode': 'adaptive_time_microseconds' },
];
const IS_WHOLE_MATRIX = isLongRun();
const TABLE_TOPICS = DEBEZIUM_TABLE_NAMES.map((table) => `public.${table}`);
const ALL_TOPICS = [...TABLE_TOPICS, 'transaction'];

const PARTITIONS = 3;
const SINKS = [
  { name: 'jdbc_sink', from: 0, table: 'stock', tasks: 1 },
  { name: 'jdbc_sink_of_partitions', from: 'parted', table: 'parted_stock', tasks: PARTITIONS },
] as const;

let source: TestDatabase;
let built: TestDatabase;
let worker: ConnectWorker;
let infrastructure: Infrastructure;
let registry: string;
let kafka: ConnectionPool;
let dir: string;
const used = new Set<string>();
const producers = new Map<string, CliProcess>();

/** What a run's records are compared as: Debezium's under one prefix, Restage's under the other. */
const RUNS = [DEFAULTS, OTHERS, ...(IS_WHOLE_MATRIX ? MATRIX : [])].map((options, at) => ({ options, at }));
/** The same in Avro, as many as the server has slots for. */
const AVRO_RUNS = RUNS.slice(0, IS_WHOLE_MATRIX ? 2 : 1).map(({ options, at }) => ({
  options,
  name: at === 0 ? 'avro' : `avro${at}`,
}));

beforeAll(async () => {
  [source, built] = await Promise.all([createDatabase(15, 'debezium'), createDatabase(15, 'built')]);
  await source.client.query(DEBEZIUM_TABLES_SQL);
  await source.client.query(DEBEZIUM_ROWS_SQL);
  infrastructure = await Infrastructure.open({ say: () => undefined, durable: false });
  kafka = createConnectionPool(
    { brokers: [testKafka()], ssl: false, sasl: null, replicationFactor: 1 },
    { clientId: 'debezium test', logger: pino({ level: 'silent' }) },
  );
  dir = await mkdtemp(path.join(tmpdir(), 'restage-debezium-'));
  [worker, { url: registry }] = await Promise.all([startConnectWorker(), infrastructure.startRegistry()]);
  await Promise.all([
    ...RUNS.map(({ options, at }) => startConnector(theirName(at), options)),
    ...RUNS.map(({ options, at }) => startProducer(ourName(at), 'profile: debezium', options)),
    ...AVRO_RUNS.map(({ options, name }) =>
      startConnector(theirName(name), { ...options, ...AVRO_NAMES, ...avroConverter(registry) }),
    ),
    ...AVRO_RUNS.map(({ options, name }) =>
      startProducer(
        ourName(name),
        'profile: debezium',
        { ...options, format: 'avro' },
        `registry: { url: "${registry}" }`,
      ),
    ),
    startProducer(ourName('parted'), 'profile: debezium', DEFAULTS, `topics: { partitions: ${PARTITIONS} }`),
    startShaped(),
  ]);
  for (const sink of SINKS) await addSinkConnector(sink);
  await makeChanges();
}, LIMIT_MS);

afterAll(async () => {
  await Promise.all([...producers.values()].map((one) => one[Symbol.asyncDispose]()));
  await worker[Symbol.asyncDispose]();
  await Promise.all([infrastructure.stop(), kafka.close(), rm(dir, { recursive: true })]);
  await Promise.all([source[Symbol.asyncDispose](), built[Symbol.asyncDispose]()]);
}, LIMIT_MS);

describe('raw topics of profile debezium hold what Debezium 3.5 writes for the same rows, changes and options', () => {
  test.each(RUNS)('$options', async ({ at }) => {
    expect(await differences(theirName(at), ourName(at), ALL_TOPICS, ALLOWED)).toEqual([]);
  });
});

test('so do the shaped topics of an output with profile debezium', async () => {
  const prefix = shapedPrefix(ourName('shaped'), 'dbz', 1);
  expect(await differences(theirName(0), prefix, TABLE_TOPICS, [...ALLOWED_SHAPED, ...ALLOWED])).toEqual([]);
});

describe('so do they in Avro, schemas included, beside a converter that writes it through the same registry', () => {
  test.each(AVRO_RUNS)('$options', async ({ name }) => {
    const registered = new AvroRecords(registry);
    const decoded = (records: readonly ReadRecord[]): Promise<ReadRecord[]> =>
      Promise.all(records.map((record) => registered.plain(record)));
    expect(await differences(theirName(name), ourName(name), ALL_TOPICS, ALLOWED, decoded)).toEqual([]);
  });
});

test('check names the columns that are left out', async () => {
  const { text } = await runCommand(['check', '-c', fileOf(ourName(0))]);
  expect(text).toMatch(/profile debezium leaves out \d+ columns/);
  expect(text).toContain('public.typed.c_pair');
});

test('no allowance is left that nothing needs: it would hide the next fault', () => {
  const needed = [...ALLOWED, ...ALLOWED_SHAPED].filter(({ isOccasional }) => isOccasional !== true);
  expect(needed.map(({ name }) => name).filter((name) => !used.has(name))).toEqual([]);
});

test('Avro through a registry says the same as JSON, to another decoder', async () => {
  const [json, avro] = [ourName(0), ourName('avro')];
  const wanted = ALL_TOPICS.flatMap((topic) => [`${json}.${topic}`, `${avro}.${topic}`]);
  const records = await readTopics(wanted, (all) => ALL_TOPICS.every((topic) => isSameLength(all, json, avro, topic)));
  const options = { [SchemaType.AVRO]: { typeHook: longsAreExact } };
  const decoder = new SchemaRegistry({ host: registry }, options);
  for (const topic of ALL_TOPICS) {
    const plain = of(records, json, topic).map((one) => [payload(one.key), payload(one.value)]);
    const decoded = await Promise.all(
      of(records, avro, topic).map(async (one) => [await decode(decoder, one.key), await decode(decoder, one.value)]),
    );
    expect(decoded.map(comparable), topic).toEqual(plain.map(comparable));
  }
});

test.each(SINKS)("Debezium's JDBC sink builds the same table from them: $name", async ({ name: sink, table }) => {
  const columns = [
    'id',
    'name',
    'price',
    'made',
    'day',
    'at',
    'open',
    'many',
    'ratio',
    'doc',
    'uid',
    'bin',
    'small',
    'hour',
    'note',
  ];
  const sql = `SELECT ${columns.map((name) => `${quoteIdentifier(name)}::text`).join(', ')} FROM `;
  const { rows } = await source.client.query(`${sql} stock ORDER BY id`);
  const same = await until(
    async () => {
      const failure = await worker.failure(sink);
      if (failure !== null) return failure;
      const { rows: there } = await built.client.query(`${sql} ${table} ORDER BY id`);
      return JSON.stringify(there) === JSON.stringify(rows) ? 'same' : false;
    },
    { what: 'the table that the JDBC sink builds to be the same' },
  ).catch(async (error: unknown) => {
    expect((await built.client.query(`${sql} ${table} ORDER BY id`)).rows).toEqual(rows);
    throw error;
  });
  expect(same).toBe('same');
});

function theirName(at: number | string): string {
  return `dbz${at}_${source.name}`;
}

function ourName(at: number | string): string {
  return `rst${at}_${source.name}`;
}

async function startConnector(name: string, options: Options): Promise<void> {
  const url = new URL(source.url);
  await worker.add(name, {
    'connector.class': 'io.debezium.connector.postgresql.PostgresConnector',
    'plugin.name': 'pgoutput',
    'database.hostname': url.hostname,
    'database.port': url.port,
    'database.user': decodeURIComponent(url.username),
    'database.password': decodeURIComponent(url.password),
    'database.dbname': source.name,
    'topic.prefix': name,
    'slot.name': name,
    'publication.name': name,
    'schema.include.list': 'public',
    'publication.autocreate.mode': 'filtered',
    'topic.creation.default.replication.factor': '1',
    'topic.creation.default.partitions': '1',
    'poll.interval.ms': '20',
    ...options,
  });
  await followed(
    name,
    async () => worker.failure(name),
    async () => true,
  );
}

/** Without heartbeats at rest: Debezium counts them as logical messages. */
/** Without event triggers: what they write is in the WAL for Debezium too, which counts it among a transaction's events. */
async function startProducer(name: string, profile: string, options: Options, kafkaOption = ''): Promise<void> {
  const given = Object.entries(options).map(
    ([key, value]) => `  ${key}: ${/^(true|false)$/.test(value) ? value : `"${value}"`}\n`,
  );
  await writeFile(
    fileOf(name),
    `name: ${name}
kafka: { brokers: ["${testKafka()}"], ${kafkaOption} }
source:
  ${profile}
  postgres: { url: "${source.url}" }
  tables: ["public.*"]
  heartbeatMs: 600000
  ddlTrigger: off
${given.length === 0 ? '' : `debezium:\n${given.join('')}`}`,
  );
  await restartProducer(name);
}

async function restartProducer(name: string): Promise<void> {
  const producer = startCli(['producer', '-c', fileOf(name)]);
  producers.set(name, producer);
  // A table that is truncated while it is loaded is taken again: then its snapshots would differ.
  const isLoaded = async (): Promise<boolean> => (await readLastManifest(kafka, name))?.manifest.loaded === true;
  await followed(
    `restage_${name}`,
    async () => (producer.stderr().includes('"level":50') ? producer.stderr() : null),
    isLoaded,
  );
}

async function startShaped(): Promise<void> {
  const name = ourName('shaped');
  await writeFile(
    fileOf(name),
    `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, tables: ["public.*"], heartbeatMs: 600000, ddlTrigger: off }
transform: { outputs: [{ name: dbz, profile: debezium }] }
`,
  );
  await restartProducer(name);
  producers.set(`${name} transformer`, startCli(['transformer', '-c', fileOf(name)]));
}

function fileOf(name: string): string {
  return path.join(dir, `${name}.yaml`);
}

/** Waits until the slot is followed and what stands before its stream is done. */
async function followed(
  slot: string,
  failure: () => Promise<string | null>,
  isReady: () => Promise<boolean>,
): Promise<void> {
  const state = await until(
    async () => {
      const failed = await failure();
      if (failed !== null) return failed;
      const { rows } = await source.client.query('SELECT FROM pg_replication_slots WHERE active AND slot_name = $1', [
        slot,
      ]);
      return rows.length === 1 && (await isReady());
    },
    { what: `slot ${slot} to be followed`, timeoutMs: 120_000 },
  );
  if (state !== true) throw new Error(state);
}

/** Half of them by another life of one producer: its events come out as if nothing had happened. */
async function makeChanges(): Promise<void> {
  const half = Math.floor(DEBEZIUM_CHANGES.length / 2);
  for (const change of DEBEZIUM_CHANGES.slice(0, half)) await source.client.query(change);
  const name = ourName(1);
  const killed = producers.get(name);
  killed?.kill('SIGKILL');
  await killed?.result();
  for (const change of DEBEZIUM_CHANGES.slice(half)) await source.client.query(change);
  await restartProducer(name);
}

async function addSinkConnector({ name, from, table, tasks }: (typeof SINKS)[number]): Promise<void> {
  const url = new URL(built.url);
  await worker.add(name, {
    'connector.class': 'io.debezium.connector.jdbc.JdbcSinkConnector',
    topics: `${ourName(from)}.public.stock`,
    'tasks.max': String(tasks),
    'connection.url': `jdbc:postgresql://${url.host}${url.pathname}`,
    'connection.username': decodeURIComponent(url.username),
    'connection.password': decodeURIComponent(url.password),
    'insert.mode': 'upsert',
    'delete.enabled': 'true',
    'primary.key.mode': 'record_key',
    'schema.evolution': 'basic',
    'collection.name.format': table,
    'consumer.override.isolation.level': 'read_committed',
    'consumer.override.auto.offset.reset': 'earliest',
  });
}

async function differences(
  theirs: string,
  ours: string,
  topics: readonly string[],
  allowed: readonly AllowedDifference[],
  plain: (records: readonly ReadRecord[]) => Promise<readonly ReadRecord[]> = async (records) => records,
): Promise<string[]> {
  const wanted = topics.flatMap((topic) => [`${theirs}.${topic}`, `${ours}.${topic}`]);
  const records = await plain(
    await readTopics(wanted, (all) => topics.every((topic) => isSameLength(all, theirs, ours, topic))),
  );
  return topics.flatMap((topic) =>
    compareRecords(of(records, theirs, topic), of(records, ours, topic), { theirs, ours }, allowed, used).map(
      (line) => `${topic}: ${line}`,
    ),
  );
}

function of(records: readonly ReadRecord[], prefix: string, topic: string): ReadRecord[] {
  return records.filter((one) => one.topic === `${prefix}.${topic}`);
}

/** The changes were made before: the side that has more is whole or will be, and the comparison says what is missing. */
function isSameLength(all: readonly ReadRecord[], one: string, other: string, topic: string): boolean {
  const count = of(all, one, topic).length;
  return count > 0 && count === of(all, other, topic).length;
}

function payload(bytes: Buffer | null): unknown {
  return bytes === null ? null : (JSON.parse(bytes.toString()) as { readonly payload: unknown }).payload;
}

async function decode(registryClient: SchemaRegistry, bytes: Buffer | null): Promise<unknown> {
  return bytes === null ? null : registryClient.decode(bytes);
}

/** Both decoders' values in one form: what differs by the pipelines' names, clocks and snapshots is taken out. */
function comparable(record: unknown): unknown {
  const text = JSON.stringify(record, (key, value: unknown) => {
    if (/^(ts_ms|ts_us|ts_ns|lsn|sequence|name|snapshot)$/.test(key) && typeof value !== 'object') return 'left out';
    // JSON has the shortest digits of a float, Avro its bits.
    if (key === 'c_float4' && typeof value === 'number') return Math.fround(value);
    if (key === 'a_float4' && Array.isArray(value))
      return value.map((one: unknown) => (typeof one === 'number' ? Math.fround(one) : one));
    if (typeof value === 'bigint') return Number(value);
    if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
    if (isSerializedBuffer(value)) return Buffer.from(value.data).toString('base64');
    return value;
  });
  return JSON.parse(text.replaceAll(/rst(0|avro)_debezium/g, 'rst_debezium')) as unknown;
}

function isSerializedBuffer(value: unknown): value is { readonly data: readonly number[] } {
  return typeof value === 'object' && value !== null && 'type' in value && value.type === 'Buffer' && 'data' in value;
}
