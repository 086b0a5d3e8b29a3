import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createConnectionPool, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { openTargetSchema } from '#adapters/postgres/target/open-target-schema.ts';
import type { TargetConfig } from '#core/config.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { NO_FAILPOINTS } from '#core/failpoints.ts';
import type { KafkaRecord } from '#core/record.ts';
import { newStatus } from '#core/status.ts';
import { schemasTopic } from '#core/topic-names.ts';
import { prove } from '../../services/cli/demo/proof.ts';
import { HoldRequests } from '../../services/cli/hold-requests.ts';
import { sink } from '../../services/sink/sink.ts';
import { startCli, type CliProcess } from '../harness/cli.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

const TABLES_SQL = `
  CREATE TABLE public.kept (id int PRIMARY KEY, note text NOT NULL);
  CREATE TABLE public.log (at int NOT NULL, what text NOT NULL);
  ALTER TABLE public.log REPLICA IDENTITY FULL;
`;
const TABLES = ['kept', 'log'].map((name) => ({ source: name, target: name, renamed: {} }));

/** What a faulty pipeline might make of one event of the stream. */
type Fault = (record: KafkaRecord) => readonly KafkaRecord[];

const logger = pino({ level: 'silent' });
let source: TestDatabase;
let pool: ConnectionPool;
let producer: CliProcess;
let folder: string;
let name: string;

beforeAll(async () => {
  source = await createDatabase(15, 'sabotage_source');
  await source.client.query(
    `${TABLES_SQL} INSERT INTO public.kept SELECT g, 'note ' || g FROM generate_series(1, 100) g`,
  );
  await source.client.query(`INSERT INTO public.log VALUES (0, 'begin')`);
  name = source.name.replaceAll('_', '-');
  folder = await mkdtemp(path.join(tmpdir(), 'restage-sabotage-'));
  const file = path.join(folder, 'restage.yaml');
  await writeFile(
    file,
    `
name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" } }
targets: [{ name: new, postgres: { url: "${source.url}" }, schema: require }]
`,
  );
  const kafka = { brokers: testKafka().split(','), ssl: false, sasl: null, replicationFactor: 1 };
  pool = createConnectionPool(kafka, { clientId: 'sabotage test', logger });
  producer = startCli(['producer', '-c', file], { RESTAGE_LOG: 'warn' });
  await until(async () => (await pool.locate([`${name}.epochs`])).has(`${name}.epochs`), {
    what: 'the producer at work',
  });
  await until(
    async () =>
      (await source.client.query('SELECT FROM pg_replication_slots WHERE database = current_database() AND active'))
        .rowCount === 1,
    { what: 'the slot in use' },
  );
  await source.client.query(`
    INSERT INTO public.log SELECT g, 'said' FROM generate_series(1, 5) g;
    UPDATE public.kept SET note = 'corrected' WHERE id = 7;
  `);
});

afterAll(async () => {
  await producer[Symbol.asyncDispose]();
  await pool.close();
  await source[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

it.each<[string, string, Fault, boolean, readonly string[]]>([
  ['nothing', 'log', (record) => [record], true, []],
  ['one event dropped', 'log', () => [], false, ['log']],
  ['one event doubled', 'log', (record) => [record, record], false, ['log']],
  ['one bit flipped', 'kept', flipBit, false, ['kept']],
])('with %s of the stream, the proof says so', async (_what, table, fault, isEqual, unequal) => {
  await using target = await createDatabase(15, 'sabotage_target');
  await target.client.query(TABLES_SQL);
  await replicate(
    target,
    spoil(createKafkaEpochReader({ pool, prefix: name, logger }), `${name}.public.${table}`, fault),
  );
  const proof = await prove(source.url, target.url, TABLES);
  expect(proof.tables.filter((one) => !one.isEqual).map((one) => one.table)).toEqual(unequal);
  expect(proof).toMatchObject({ isEqual, structureDifferences: [] });
});

/** 's' of "said" and 'c' of "corrected" become others: the record stays well-formed. */
function flipBit(record: KafkaRecord): KafkaRecord[] {
  const value = Buffer.from(record.value ?? Buffer.alloc(0));
  const at = value.indexOf('corrected');
  value[at] = (value[at] ?? 0) ^ 1;
  return [{ ...record, value }];
}

/** The first event of the stream in this topic goes through the fault. */
function spoil(reader: EpochReader, topic: string, fault: Fault): EpochReader {
  let isDone = false;
  const spoilt = (record: KafkaRecord): readonly KafkaRecord[] => {
    if (isDone || !record.headers.has('pos')) return [record];
    isDone = true;
    return fault(record);
  };
  return {
    manifests: (from, signal) => reader.manifests(from, signal),
    last: () => reader.last(),
    end: () => reader.end(),
    close: () => reader.close(),
    async *read(range, signal) {
      for await (const records of reader.read(range, signal))
        yield range.topic === topic ? records.flatMap(spoilt) : records;
    },
  };
}

/** A sink from the first manifest until it has everything that is committed at the source now. */
async function replicate(database: TestDatabase, reader: EpochReader): Promise<void> {
  const target: TargetConfig = { name: 'new', url: database.url, output: null, schema: 'require', loadWorkers: 2 };
  const status = newStatus('sink', 'new');
  const stop = new AbortController();
  const running = sink(
    {
      pipeline: name,
      target,
      reader,
      raw: reader,
      schemasTopic: schemasTopic(name),
      connect: () => connectPg({ url: database.url, purpose: 'target', application: 'sabotage test' }),
      schema: openTargetSchema({ pipeline: name, target, rules: [], failpoints: NO_FAILPOINTS }),
      status,
      gate: { isPaused: false, whenRunning: () => Promise.resolve() },
      hold: new HoldRequests(() => undefined),
      logger,
      failpoints: NO_FAILPOINTS,
      clock: Date.now,
      readStructures: async () => (await readCompacted(pool, schemasTopic(name))).values(),
    },
    stop.signal,
  );
  const { rows } = await source.client.query<{ lsn: string }>(
    `SELECT pg_logical_emit_message(true, 'restage', 'sabotage')::text AS lsn`,
  );
  const reached = 'SELECT FROM restage.checkpoint WHERE load_done AND through >= $1::pg_lsn';
  const arrived = until(async () => (await database.client.query(reached, [rows[0]?.lsn])).rowCount === 1, {
    what: 'everything to arrive',
  });
  await Promise.race([running, arrived]);
  await arrived;
  stop.abort();
  await running;
}
