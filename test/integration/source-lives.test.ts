import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Infrastructure } from '#infra/infrastructure.ts';
import type { PostgresServer } from '#infra/providers/provider.ts';
import { loadConfig } from '#core/config-load.ts';
import type { Config } from '#core/config.ts';
import { requireReadySource } from '../../services/producer/preflight.ts';
import { ask } from '../harness/ask-checks.ts';
import { copyFiles, startClone, type Clone } from '../harness/cloned-postgres.ts';
import { createDatabase } from '../harness/database.ts';
import { startService } from '../harness/run-service.ts';
import { testKafka, testPostgres } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

const quiet = pino({ level: 'silent' });
const NAME = `lives-${process.pid}-${Date.now().toString(36)}`;
let infrastructure: Infrastructure;
let server: PostgresServer;

function configOf(url: string, name = NAME): Config {
  const text = `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${url}" }, tables: ["public.*"], heartbeatMs: 1000 }
targets: [{ name: new, postgres: { url: "postgresql://nobody@127.0.0.1:1/none" }, schema: create }]
`;
  return loadConfig(text, 'lives.yaml', {});
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<Record<string, unknown>>(sql);
    return rows;
  } finally {
    await client.end();
  }
}

/** Streams until one more row is in Kafka. */
async function live(url: string, name = NAME): Promise<void> {
  await using producer = startService('producer', configOf(url, name));
  await producer.streaming();
  await query(url, 'INSERT INTO public.t DEFAULT VALUES');
  await until(() => producer.status.events.insert > 0, { what: 'the row in Kafka' });
}

async function refuses(url: string, code: string, words: string): Promise<void> {
  const refusal = { code, message: expect.stringContaining(words) as unknown };
  await expect(requireReadySource(configOf(url), quiet)).rejects.toMatchObject(refusal);
  await using producer = startService('producer', configOf(url));
  expect(await producer.end).toMatchObject(refusal);
}

async function copyAs(name: string): Promise<string> {
  const copy = path.join(infrastructure.dir, name);
  await mkdir(copy, { recursive: true });
  await copyFiles(server, path.join(infrastructure.dir, 'lives'), copy);
  return copy;
}

beforeAll(async () => {
  infrastructure = await Infrastructure.open({
    say: (line) => process.stderr.write(`${line}\n`),
    durable: false,
  });
  server = await infrastructure.startPostgres({
    name: 'lives',
    from: 'machine',
    major: 15,
    settings: { synchronous_commit: 'on' },
  });
  await query(server.url, 'CREATE TABLE public.t (id serial PRIMARY KEY)');
});

afterAll(async () => {
  await infrastructure.stop();
});

test('a promoted copy goes on where it left after all that Kafka has, and is refused where it left before', async () => {
  await live(server.url);
  const early = await copyAs('early');
  await live(server.url);
  const late = await copyAs('late');
  const clones: Clone[] = [];
  for (const copy of [early, late]) clones.push(await startClone(infrastructure, server, copy));
  const [rewound, promoted] = clones;
  if (rewound === undefined || promoted === undefined) throw new Error('two copies were started');

  await refuses(rewound.url, 'source_not_ready', 'stand-by');
  const found = await ask(rewound.url, testPostgres(18), 'source.standby', 'source.other_slots');
  expect(found).toEqual({
    'source.standby': [expect.objectContaining({ what: 'a stand-by of this version cannot decode' })],
    'source.other_slots': [expect.objectContaining({ evidence: expect.stringContaining('keeps') as unknown })],
  });
  for (const clone of clones) await clone.promote();
  // Past what Kafka has, so that only the timeline tells.
  await query(
    rewound.url,
    `SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000)) FROM generate_series(1, 20)`,
  );
  await refuses(rewound.url, 'source_replaced', 'rewound');
  await live(promoted.url);
  // The old primary has not the new one's history.
  await refuses(server.url, 'source_replaced', 'rewound');
});

test('a disk put back without a recovery, which has written more than it lost, is refused; one that lost nothing goes on', async () => {
  const name = `${NAME}-e`;
  await live(server.url, name);
  const early = await copyAs('disk-early');
  await live(server.url, name);
  const late = await copyAs('disk-late');
  for (const copy of [early, late]) await rm(path.join(copy, 'data', 'standby.signal'));
  const rewound = await startClone(infrastructure, server, early);
  await query(
    rewound.url,
    `SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000)) FROM generate_series(1, 20)`,
  );
  const slot = `SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE right(slot_name, 2) = '_e'`;
  const [before] = await query(rewound.url, slot);
  {
    await using producer = startService('producer', configOf(rewound.url, name));
    expect(await producer.end).toMatchObject({
      code: 'source_replaced',
      message: expect.stringContaining('rewound') as unknown,
    });
  }
  expect(await query(rewound.url, slot)).toEqual([before]);
  const same = await startClone(infrastructure, server, late);
  await live(same.url, name);
});

test('another cluster at the address', async () => {
  const name = `${NAME}-b`;
  await using other = await createDatabase(15, 'lives');
  await other.client.query('CREATE TABLE public.t (id serial PRIMARY KEY)');
  const own = configOf(server.url, name);
  await live(server.url, name);
  const moved = { ...own, source: { ...own.source, url: other.url } };
  await expect(requireReadySource(moved, quiet)).rejects.toMatchObject({ code: 'source_replaced' });
  await using producer = startService('producer', moved);
  expect(await producer.end).toMatchObject({ code: 'source_replaced' });
});

test('slots that the server gives up: for their size at work, for their idleness between two lives', async () => {
  const settings = async (url: string, ...statements: string[]): Promise<void> => {
    for (const statement of [...statements, 'SELECT pg_reload_conf()']) await query(url, statement);
  };
  const url = server.url;
  const name = `${NAME}-c`;
  await using producer = startService('producer', configOf(url, name));
  await producer.streaming();
  const holder = new pg.Client({ connectionString: url });
  await holder.connect();
  await holder.query('BEGIN; INSERT INTO public.t DEFAULT VALUES');
  await settings(url, `ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'`);
  await until(
    async () => {
      for (const sql of [
        `SELECT pg_logical_emit_message(true, 'x', repeat('x', 100000))`,
        'SELECT pg_switch_wal()',
        'CHECKPOINT',
      ])
        await query(url, sql);
      const [slot] = await query(url, `SELECT wal_status FROM pg_replication_slots WHERE slot_name LIKE '%_c'`);
      return slot?.['wal_status'] === 'lost';
    },
    { what: 'the slot to be given up' },
  );
  expect(await producer.end).toMatchObject({
    code: 'slot_missing',
    message: expect.stringContaining('gave') as unknown,
  });
  await holder.end();

  await using idle = await createDatabase(18, 'lives_idle');
  await idle.client.query('CREATE TABLE public.t (id serial PRIMARY KEY)');
  await live(idle.url, `${NAME}-d`);
  const admin = testPostgres(18);
  await settings(admin, `ALTER SYSTEM SET idle_replication_slot_timeout = '1s'`);
  try {
    await until(
      async () => {
        await query(admin, 'CHECKPOINT');
        const [slot] = await query(idle.url, `SELECT wal_status FROM pg_replication_slots WHERE slot_name LIKE '%_d'`);
        return slot?.['wal_status'] === 'lost';
      },
      { what: 'the idle slot to be given up', everyMs: 500 },
    );
  } finally {
    await settings(admin, 'ALTER SYSTEM RESET idle_replication_slot_timeout');
  }
  const refusal = { code: 'slot_missing', message: expect.stringContaining('idle_timeout') as unknown };
  await expect(requireReadySource(configOf(idle.url, `${NAME}-d`), quiet)).rejects.toMatchObject(refusal);
});
