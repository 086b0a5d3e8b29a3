import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { connectPg } from '#adapters/postgres/session.ts';
import { Infrastructure } from '#infra/infrastructure.ts';
import type { PostgresServer } from '#infra/providers/provider.ts';
import { runCli } from '../harness/cli.ts';
import { runCommand } from '../harness/command.ts';
import { configText, type Given } from '../harness/config-text.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { occupySlot } from '../harness/occupied-slot.ts';
import { testKafka } from '../harness/servers.ts';
import { findTraces } from '../harness/traces.ts';
import { until } from '../harness/until.ts';

const NAME = 'bad-input';
const SLOT = 'restage_bad_input';
const TABLE_SQL = 'CREATE TABLE public.orders (id int PRIMARY KEY, amount numeric(10,2))';
const CHECKPOINT_SQL = `
  CREATE SCHEMA restage;
  CREATE TABLE restage.checkpoint (
    pipeline text PRIMARY KEY, format int NOT NULL, incarnation text NOT NULL, pass int NOT NULL, plan_offset bigint NOT NULL,
    next_offset bigint NOT NULL, through pg_lsn NOT NULL, load_done boolean NOT NULL, lease_token uuid)`;

interface Expected {
  readonly code: number;
  /** Codes and words that the message holds: what, where and the fix. */
  readonly says: readonly string[];
}

interface Case {
  readonly name: string;
  readonly change?: (given: Given) => Partial<Given>;
  /** Makes the fault; the function it gives takes it away again. */
  readonly prepare?: () => Promise<() => Promise<unknown>>;
  /** By command. */
  readonly expect: Readonly<Record<string, Expected>>;
}

let source: TestDatabase;
let target: TestDatabase;
let folder: string;
let infrastructure: Infrastructure;
let notLogical: PostgresServer;
let fewSlots: PostgresServer;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'restage-bad-'));
  infrastructure = await Infrastructure.open({ say: () => undefined, durable: false });
  const small = { shared_buffers: '16MB', max_connections: '20' };
  [source, target, notLogical, fewSlots] = await Promise.all([
    createDatabase(15, 'bad_source'),
    createDatabase(15, 'bad_target'),
    infrastructure.startPostgres({ name: 'replica', from: 'machine', settings: { ...small, wal_level: 'replica' } }),
    infrastructure.startPostgres({
      name: 'slots',
      from: 'machine',
      settings: { ...small, max_replication_slots: '1' },
    }),
  ]);
  await source.client.query(TABLE_SQL);
  for (const server of [notLogical, fewSlots]) await execute(server.url, TABLE_SQL);
  await execute(fewSlots.url, "SELECT pg_create_physical_replication_slot('taken')");
});

afterAll(async () => {
  await infrastructure.stop();
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

afterEach(async () => {
  await target.client.query('DROP SCHEMA IF EXISTS restage CASCADE');
});

async function execute(url: string, sql: string): Promise<void> {
  const client = await connectPg({ url, purpose: 'source', application: 'test' });
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

/** A statement at the target, and the one that undoes it. */
function atTarget(sql: string, undo: string): () => Promise<() => Promise<unknown>> {
  return async () => {
    await target.client.query(sql);
    return () => target.client.query(undo);
  };
}

function changed(url: string, change: (url: URL) => void): string {
  const other = new URL(url);
  change(other);
  return other.href;
}

const wrongPort = (url: string): string => changed(url, (it) => (it.port = '1'));
const wrongDatabase = (url: string): string => changed(url, (it) => (it.pathname = '/no_such_database'));
const wrongPassword = (url: string): string => changed(url, (it) => (it.password = 'topsecret'));

function both(commands: readonly string[], code: number, says: readonly string[]): Record<string, Expected> {
  return Object.fromEntries(commands.map((command) => [command, { code, says }]));
}

const OUTPUT = 'transform: { outputs: [{ name: main, rules: [] }] }';
const OF_SOURCE = ['run', 'producer', 'check', 'verify', 'wait'];
const OF_TARGET = ['run', 'sink', 'check', 'verify'];

const CASES: readonly Case[] = [
  {
    name: 'source: nobody listens',
    change: (given) => ({ source: wrongPort(given.source) }),
    expect: both([...OF_SOURCE, 'status'], 3, ['source_unreachable', '127.0.0.1:1/', 'check host and port']),
  },
  {
    name: 'source: no such database',
    change: (given) => ({ source: wrongDatabase(given.source) }),
    expect: both([...OF_SOURCE, 'status'], 2, ['database_missing', '/no_such_database', "the source's url"]),
  },
  {
    name: 'source: wrong password',
    change: (given) => ({ source: wrongPassword(given.source) }),
    expect: both([...OF_SOURCE, 'status'], 2, ['source_auth', '127.0.0.1', 'correct user and password']),
  },
  {
    name: 'target: nobody listens',
    change: (given) => ({ target: wrongPort(given.target) }),
    expect: both([...OF_TARGET, 'status'], 3, ['target_unreachable', '127.0.0.1:1/', 'check host and port']),
  },
  {
    name: 'target: no such database',
    change: (given) => ({ target: wrongDatabase(given.target) }),
    expect: both([...OF_TARGET, 'wait', 'status'], 2, ['database_missing', '/no_such_database', "the target's url"]),
  },
  {
    name: 'target: wrong password',
    change: (given) => ({ target: wrongPassword(given.target) }),
    expect: both([...OF_TARGET, 'wait', 'status'], 2, ['target_auth', '127.0.0.1', 'correct user and password']),
  },
  {
    name: 'Kafka: nobody listens',
    change: () => ({ kafka: '{ brokers: ["127.0.0.1:1"] }', more: OUTPUT }),
    expect: {
      ...both(['run', 'producer', 'transformer', 'sink', 'status', 'pause'], 3, [
        'kafka_unreachable',
        '127.0.0.1:1',
        'check kafka.brokers',
      ]),
      check: { code: 1, says: ['Kafka does not answer', '127.0.0.1:1', 'check kafka.brokers'] },
    },
  },
  {
    name: 'Kafka: more copies than brokers',
    change: () => ({ kafka: `{ brokers: ["${testKafka()}"], topics: { replicationFactor: 9 } }`, more: OUTPUT }),
    expect: both(['run', 'producer', 'transformer', 'sink'], 2, [
      'config_invalid',
      'kafka.topics.replicationFactor',
      'lower',
    ]),
  },
  {
    name: 'a rule that names no column',
    change: () => ({ more: OUTPUT.replace('[]', '[{ table: public.orders, columns: { drop: [amuont] } }]') }),
    expect: {
      run: { code: 2, says: ['rule_invalid', 'amuont', 'did you mean amount?'] },
      check: { code: 1, says: ['rules', 'amuont', 'did you mean amount?'] },
    },
  },
  {
    name: 'a port that is taken',
    change: () => ({ more: `http: { port: ${testKafka().split(':')[1]} }` }),
    expect: both(['run', 'producer', 'sink'], 2, ['usage', 'EADDRINUSE', 'http.port', '0 takes any']),
  },
  {
    name: 'source: a pattern that matches nothing',
    change: () => ({ tables: 'public.ordres' }),
    expect: both(['run', 'producer', 'check'], 2, [
      'table_not_found',
      '"public.ordres"',
      'did you mean public.orders?',
    ]),
  },
  {
    name: 'source: an excluded table that is not there',
    change: () => ({ tables: '*", "!public.ordrs' }),
    expect: both(['run', 'producer', 'check'], 2, [
      'table_not_found',
      '"!public.ordrs"',
      'did you mean public.orders?',
    ]),
  },
  {
    name: 'source: wal_level = replica',
    change: () => ({ source: notLogical.url }),
    expect: {
      ...both(['run', 'producer'], 4, [
        'source_not_ready',
        'wal_level = replica',
        'ALTER SYSTEM SET wal_level = logical',
      ]),
      check: { code: 1, says: ['source.wal_level', 'wal_level = replica', 'ALTER SYSTEM SET wal_level = logical'] },
    },
  },
  {
    name: 'source: every slot is taken',
    change: () => ({ source: fewSlots.url }),
    expect: {
      ...both(['run', 'producer'], 4, ['slot_none_free', SLOT, 'max_replication_slots = 1', 'drop a slot']),
      check: { code: 1, says: ['source.free_slots', '1 of 1 are in use', 'ALTER SYSTEM SET max_replication_slots'] },
    },
  },
  {
    name: 'source: a table without identity is updated',
    prepare: async () => {
      await source.client.query('CREATE TABLE public.keyless (a int); INSERT INTO public.keyless VALUES (1)');
      await source.client.query('UPDATE public.keyless SET a = 2');
      await until(
        async () =>
          (await source.client.query("SELECT FROM pg_stat_user_tables WHERE relname = 'keyless' AND n_tup_upd > 0"))
            .rowCount === 1,
        { what: 'the statistics to count the update' },
      );
      return () => source.client.query('DROP TABLE public.keyless');
    },
    expect: {
      ...both(['run', 'producer'], 4, [
        'identity_missing',
        'public.keyless',
        'ALTER TABLE "public"."keyless" REPLICA IDENTITY FULL',
      ]),
      check: { code: 1, says: ['scope.replica_identity', 'public.keyless', 'REPLICA IDENTITY'] },
    },
  },
  {
    name: 'source: a slot of this name that no history explains',
    prepare: async () => {
      await source.client.query(`SELECT pg_create_logical_replication_slot('${SLOT}', 'pgoutput')`);
      return () => source.client.query(`SELECT pg_drop_replication_slot('${SLOT}')`);
    },
    expect: {
      ...both(['run', 'producer'], 4, ['slot_foreign', SLOT, 'pg_drop_replication_slot']),
      check: { code: 1, says: ['source.slot_name', SLOT, 'pg_drop_replication_slot'] },
    },
  },
  {
    name: 'source: a slot of this name that another program reads',
    prepare: () => occupySlot(source, SLOT),
    expect: {
      ...both(['run', 'producer'], 4, [
        'slot_foreign',
        SLOT,
        'in use by another program',
        '"another program"',
        'stop that program',
      ]),
      check: { code: 1, says: ['source.slot_name', SLOT, '"another program"', 'stop that program'] },
    },
  },
  {
    name: 'target: a table is missing',
    change: () => ({ schema: 'require' }),
    expect: {
      run: { code: 2, says: ['schema_missing', 'public.orders', 'schema: copy'] },
      check: { code: 1, says: ['target.tables', 'public.orders', 'schema: copy'] },
    },
  },
  {
    name: 'target: a column is missing',
    change: () => ({ schema: 'require' }),
    prepare: atTarget('CREATE TABLE public.orders (id int PRIMARY KEY)', 'DROP TABLE public.orders'),
    expect: {
      run: {
        code: 2,
        says: ['schema_differs', 'public.orders: column amount numeric(10,2) is missing', 'alter the columns'],
      },
      check: { code: 1, says: ['target.tables', 'column amount numeric(10,2) is missing', 'alter the columns'] },
    },
  },
  {
    name: 'target: rows are there already',
    change: () => ({ schema: 'require' }),
    prepare: atTarget(`${TABLE_SQL}; INSERT INTO public.orders VALUES (1, 1)`, 'DROP TABLE public.orders'),
    expect: {
      run: { code: 2, says: ['target_not_empty', 'public.orders', 'TRUNCATE public.orders'] },
      check: { code: 1, says: ['target.tables', 'public.orders', 'TRUNCATE public.orders'] },
    },
  },
  {
    name: 'target: tables are there that Restage was to make',
    prepare: atTarget(TABLE_SQL, 'DROP TABLE public.orders'),
    expect: {
      ...both(['run', 'schema copy --section pre-data'], 2, ['schema_differs', 'public.orders', 'schema: require']),
      check: { code: 1, says: ['target.tables', 'public.orders', 'schema: require'] },
    },
  },
  {
    name: 'target: its position is of a newer form',
    prepare: atTarget(
      `${CHECKPOINT_SQL}; INSERT INTO restage.checkpoint VALUES ('${NAME}', 99, 'x', 2, 0, 9, '0/1', true)`,
      'DROP SCHEMA restage CASCADE',
    ),
    expect: {
      ...both(['run', 'sink', 'verify', 'wait'], 4, ['state_newer', 'restage.checkpoint', 'newer version of Restage']),
      check: { code: 1, says: ['target.state', 'restage.checkpoint', 'newer version of Restage'] },
    },
  },
  {
    name: 'target: a position that this Kafka knows nothing of',
    prepare: atTarget(
      `${CHECKPOINT_SQL}; INSERT INTO restage.checkpoint VALUES ('${NAME}', 1, 'x', 2, 0, 9, '0/1', true)`,
      'DROP SCHEMA restage CASCADE',
    ),
    expect: both(['run', 'sink'], 4, ['history_lost', `${NAME}.epochs`, 'correct kafka.brokers or name']),
  },
];

test.each(CASES.map((one) => [one.name, one] as const))('%s', async (_name, one) => {
  const takeAway = await one.prepare?.();
  try {
    const given = { ...usual(), ...one.change?.(usual()) };
    const file = write(given);
    const places = [
      [notLogical.url, fewSlots.url].includes(given.source) ? given.source : source.url,
      target.url,
      NAME,
    ] as const;
    const before = await findTraces(...places);
    for (const [command, expected] of Object.entries(one.expect)) {
      const args = [...command.split(' '), '-c', file, ...(OPTIONS[command.split(' ')[0] ?? '']?.() ?? [])];
      expectRefusal(await runCommand(args), expected, given);
      expect(await findTraces(...places), `${command} left something behind`).toEqual(before);
    }
  } finally {
    await takeAway?.();
  }
});

test.each([
  ['Kafka: nobody listens', 3],
  ['source: wrong password', 2],
  ['source: wal_level = replica', 4],
] as const)('restage run as a process of its own: %s', async (name, code) => {
  const one = CASES.find((known) => known.name === name);
  const given = { ...usual(), ...one?.change?.(usual()) };
  const { stdout, stderr, code: ended } = await runCli(['run', '-c', write(given)]);
  expectRefusal({ code: ended, text: stderr }, one?.expect['run'] ?? { code, says: [] }, given);
  expect([ended, stdout]).toEqual([code, '']);
  // One message: what, where and the fix.
  expect(stderr.trimEnd().split('\n')).toHaveLength(3);
});

/** What commands need beside the configuration. */
const OPTIONS: Readonly<Record<string, () => string[]>> = {
  sink: () => ['--target', 'new'],
  verify: () => ['--target', 'new'],
  wait: () => ['--target', 'new', '--timeout', '5'],
  schema: () => ['--target', 'new'],
};

function expectRefusal({ code, text }: { code: number | null; text: string }, expected: Expected, given: Given): void {
  expect(code, text).toBe(expected.code);
  for (const part of expected.says) expect(text).toContain(part);
  if (expected.code > 1) expect(text).toMatch(/where: .+\n +fix: +\S/);
  for (const url of [given.source, given.target]) expect(text).not.toContain(new URL(url).password);
}

function usual(): Given {
  return {
    source: source.url,
    target: target.url,
    kafka: `{ brokers: ["${testKafka()}"] }`,
    tables: '*',
    schema: 'copy',
    more: '',
  };
}

function write(given: Given): string {
  const file = path.join(folder, 'restage.yaml');
  writeFileSync(file, configText(NAME, given));
  return file;
}
