import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { appendRecord } from '#adapters/kafka/keyed-topic.ts';
import { readLastManifest } from '#adapters/kafka/last-manifest.ts';
import { loadConfig } from '#core/config-load.ts';
import type { Config } from '#core/config.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { startService } from '../harness/run-service.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

let source: TestDatabase;

beforeAll(async () => {
  source = await createDatabase(15, 'state');
  await source.client.query('CREATE TABLE public.t (id serial PRIMARY KEY); INSERT INTO public.t DEFAULT VALUES');
});

afterAll(async () => {
  await source[Symbol.asyncDispose]();
});

function configOf(kind: string, target: TestDatabase): Config {
  const text = `name: ${kind}-${source.name.slice(-10)}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, heartbeatMs: 500 }
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: create }]
`;
  return loadConfig(text, 'state.yaml', {});
}

/** Loaded, and one event waits in Kafka. */
async function liveAndStop(config: Config): Promise<void> {
  await using producer = startService('producer', config);
  await producer.streaming();
  {
    await using sink = startService('sink', config, 'new');
    await until(() => sink.status.load.isDone, { what: 'the load done' });
  }
  await source.client.query('INSERT INTO public.t DEFAULT VALUES');
  await until(() => producer.status.events.insert > 0 && producer.status.epochs > 0, { what: 'the event in Kafka' });
}

async function appendManifest(config: Config, value: string): Promise<void> {
  const pool = createConnectionPool(config.kafka, { clientId: 'state', logger: pino({ level: 'silent' }) });
  await appendRecord(pool, `${config.name}.epochs`, 'x', value);
  await pool.close();
}

describe('a state that is not what it was stops its sink before anything is applied', () => {
  test.each([
    ['gone', 'state_damaged', 'DELETE FROM restage.checkpoint'],
    ['newer', 'state_newer', 'UPDATE restage.checkpoint SET format = 99'],
    ['foreign', 'state_foreign', `UPDATE restage.checkpoint SET incarnation = 'another'`],
    ['ahead', 'history_lost', 'UPDATE restage.checkpoint SET next_offset = 1000000'],
    ['before', 'state_damaged', 'UPDATE restage.checkpoint SET next_offset = plan_offset - 1'],
    ['noloads', 'state_damaged', 'DELETE FROM restage.table_load'],
    ['noledger', 'state_damaged', 'DROP TABLE restage.chunk_ledger'],
  ])('%s: %s', async (kind, code, sql) => {
    await using target = await createDatabase(15, 'state_target');
    const config = configOf(kind, target);
    await liveAndStop(config);
    await target.client.query(sql);
    const look = async (): Promise<unknown> => {
      const rows = await target.client.query('SELECT count(*) AS n FROM public.t');
      const positions = await target.client.query('SELECT next_offset, through, updated_at FROM restage.checkpoint');
      return [rows.rows, positions.rows];
    };
    const before = await look();
    await using sink = startService('sink', config, 'new');
    expect(await sink.end).toMatchObject({ code });
    expect(await look()).toEqual(before);
  });
});

describe('records that nobody of ours wrote, or a newer version did, stop the readers and the next producer', () => {
  test.each([
    ['garbage', 'manifest_invalid', '{'],
    ['form', 'manifest_invalid', '{"format":1}'],
    ['later', 'state_newer', '{"format":99,"kind":"of tomorrow"}'],
  ])('%s: %s', async (kind, code, value) => {
    await using target = await createDatabase(15, 'state_target');
    const config = configOf(kind, target);
    await liveAndStop(config);
    await appendManifest(config, value);
    const slot = async (): Promise<unknown> =>
      (
        await source.client.query('SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1', [
          config.source.slot,
        ])
      ).rows;
    const before = await slot();
    for (const [service, instance] of [
      ['producer', ''],
      ['sink', 'new'],
    ] as const) {
      await using one = startService(service, config, instance);
      expect(await one.end, service).toMatchObject({ code });
    }
    expect(await slot()).toEqual(before);
  });

  test('a clock that is a year off changes nothing but figures of time', async () => {
    await using target = await createDatabase(15, 'state_target');
    const config = configOf('clock', target);
    const now = Date.now.bind(Date);
    Date.now = () => now() - 365 * 24 * 3_600_000;
    try {
      await liveAndStop(config);
      Date.now = () => now() + 365 * 24 * 3_600_000;
      await using sink = startService('sink', config, 'new');
      await sink.streaming();
      const pool = createConnectionPool(config.kafka, { clientId: 'state', logger: pino({ level: 'silent' }) });
      const last = await readLastManifest(pool, config.name);
      await pool.close();
      await until(() => sink.status.through === last?.manifest.through, { what: 'the last manifest applied' });
      const rows = async ({ client }: TestDatabase): Promise<unknown> =>
        (await client.query('SELECT * FROM public.t ORDER BY 1')).rows;
      expect(await rows(target)).toEqual(await rows(source));
    } finally {
      Date.now = now;
    }
  });
});
