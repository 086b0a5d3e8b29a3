import { connect, createServer } from 'node:net';
import type pg from 'pg';
import { expect, test, vi } from 'vitest';
import { connectPg } from '#adapters/postgres/session.ts';
import { findPgTools } from '#adapters/postgres/target/pg-dump.ts';
import { ask } from '../harness/ask-checks.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { SeededRandom } from '../harness/random.ts';
import { TcpProxy } from '../harness/tcp-proxy.ts';
import { TransactionPooler } from '../harness/transaction-pooler.ts';
import { until } from '../harness/until.ts';

async function reload(client: pg.Client, statement: string, name: string, value: string): Promise<void> {
  await client.query(statement);
  await client.query('SELECT pg_reload_conf()');
  await until(async () => (await client.query(`SELECT current_setting('${name}') AS v`)).rows[0]?.v === value, {
    what: `${name} to be ${value}`,
  });
}

/** A walsender that sends files of WAL, as to a stand-by. */
async function standByOf({ url, client }: TestDatabase): Promise<pg.Client> {
  const walreceiver = await connectPg({ url, purpose: 'source', application: 'east', replication: true });
  const { rows } = await client.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn() AS lsn');
  void walreceiver.query(`START_REPLICATION PHYSICAL ${rows[0]?.lsn ?? ''}`).catch(() => undefined);
  return walreceiver;
}

const IDS = [
  'source.failover',
  'source.idle_slot_timeout',
  'source.decoding_memory',
  'source.subscriptions',
  'profile.columns',
];

test('PostgreSQL 18: stand-bys, limits, spilt transactions, subscriptions and odd types are found, and not where they are not', async () => {
  await using source = await createDatabase(18, 'servers_source');
  await using target = await createDatabase(15, 'servers_target');
  const { client, name } = source;
  await client.query(
    'CREATE TABLE public.t (id int PRIMARY KEY, seen pg_lsn); CREATE PUBLICATION p FOR TABLE public.t',
  );
  await client.query(`SELECT pg_create_logical_replication_slot('${name}', 'pgoutput')`);
  await client.query(
    `SET logical_decoding_work_mem = '64kB'; SET synchronous_commit = on; INSERT INTO public.t SELECT n FROM generate_series(1, 5000) n`,
  );
  await client.query(
    `SELECT count(*) FROM pg_logical_slot_get_binary_changes('${name}', NULL, NULL, 'proto_version', '1', 'publication_names', 'p')`,
  );
  await client.query(
    `CREATE SUBSCRIPTION news CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false); ALTER SUBSCRIPTION news ENABLE`,
  );
  const standBy = await standByOf(source);
  try {
    await reload(
      client,
      `ALTER SYSTEM SET idle_replication_slot_timeout = '1h'`,
      'idle_replication_slot_timeout',
      '1h',
    );
    await until(
      async () =>
        (await client.query(`SELECT FROM pg_stat_replication WHERE application_name = 'east' AND state <> 'startup'`))
          .rowCount === 1,
      { what: 'the stand-by' },
    );
    const found = await ask(source.url, target.url, ...IDS, 'target.schema_tool');
    const evidence = Object.fromEntries(IDS.map((id) => [id, found[id]?.map((one) => one.evidence)]));
    expect(evidence).toEqual({
      'source.failover': ['stand-bys: east'],
      'source.idle_slot_timeout': ['idle_replication_slot_timeout = 1h'],
      'source.decoding_memory': [
        expect.stringMatching(/^[1-9]\d* transactions, \d+ MiB .* logical_decoding_work_mem = /),
      ],
      'source.subscriptions': ['news'],
      'profile.columns': ['public.t.seen'],
    });
    const hasTool = await findPgTools(18).then(
      () => true,
      () => false,
    );
    expect(found['target.schema_tool']?.map(({ fix }) => fix)).toEqual(
      hasTool ? [] : [expect.stringContaining('postgresql-client-18')],
    );
  } finally {
    await standBy.end();
    await reload(client, 'ALTER SYSTEM RESET idle_replication_slot_timeout', 'idle_replication_slot_timeout', '0');
    await client.query('ALTER SUBSCRIPTION news DISABLE');
  }
  await client.query(`SELECT pg_drop_replication_slot('${name}'); ALTER TABLE public.t DROP seen`);
  await until(
    async () => (await client.query(`SELECT FROM pg_stat_replication WHERE application_name = 'east'`)).rowCount === 0,
    { what: 'the stand-by to be gone' },
  );
  // A subscription that is switched off brings nothing; while one is there, no database is dropped.
  const later = await ask(source.url, target.url, ...IDS);
  await client.query('ALTER SUBSCRIPTION news SET (slot_name = NONE); DROP SUBSCRIPTION news');
  expect(later).toEqual(Object.fromEntries(IDS.map((id) => [id, []])));
});

test('clocks that differ and long ways are told from a server that is near', async () => {
  await using source = await createDatabase(15, 'near_source');
  await using target = await createDatabase(18, 'near_target');
  await source.client.query('CREATE TABLE public.t (id int PRIMARY KEY)');
  const ids = ['servers.clock', 'servers.round_trip', 'servers.pooler', 'servers.sessions', 'source.one_server'];
  const near = await ask(source.url, target.url, ...ids);
  expect(near).toEqual(Object.fromEntries(ids.map((id) => [id, []])));

  const now = Date.now.bind(Date);
  const clock = vi.spyOn(Date, 'now').mockImplementation(() => now() - 90_000);
  const late = await ask(source.url, target.url, 'servers.clock').finally(() => clock.mockRestore());
  expect(late['servers.clock']?.map(({ evidence }) => evidence)).toEqual([
    'source: 90.0 s from the clock here',
    'target new: 90.0 s from the clock here',
  ]);

  await using far = await TcpProxy.open(Number(new URL(target.url).port), new SeededRandom(1));
  far.spoil({ kind: 'latency', ms: 25, jitterMs: 0 });
  const farUrl = new URL(target.url);
  farUrl.port = String(far.port);
  const slow = await ask(source.url, farUrl.href, 'servers.round_trip', 'servers.pooler');
  expect(slow['servers.round_trip']).toMatchObject([{ fix: 'run this sink near its target' }]);
  // A link that only forwards is no pooler.
  expect(slow['servers.pooler']).toEqual([]);
});

test('a pooler is told at the target and at the source, and by its refusal', async () => {
  await using source = await createDatabase(15, 'pool_source');
  await using target = await createDatabase(18, 'pool_target');
  await source.client.query('CREATE TABLE public.t (id int PRIMARY KEY)');
  await using before = await TransactionPooler.open(target.url);
  const found = await ask(source.url, before.url, 'servers.pooler');
  expect(found['servers.pooler']).toMatchObject([
    { severity: 'block', evidence: expect.stringContaining('target new: two sessions are one process') as string },
  ]);
  await using same = await TransactionPooler.open(source.url);
  const replication = await ask(same.url, target.url, 'source.replication_connection');
  expect(replication['source.replication_connection']).toMatchObject([
    {
      evidence: expect.stringContaining('unsupported startup parameter: replication') as string,
      fix: expect.stringContaining('a pooler answers there') as string,
    },
  ]);
  await using strict = await TransactionPooler.open(target.url, ['options']);
  await expect(ask(source.url, strict.url, 'servers.pooler')).rejects.toMatchObject({
    code: 'target_unreachable',
    fix: expect.stringContaining("name the server itself in the target's url") as string,
  });
});

test('an address behind which connections go to one server and then another is no source', async () => {
  await using one = await createDatabase(15, 'balanced');
  await using other = await createDatabase(18, 'balanced');
  await one.client.query('CREATE TABLE public.t (id int PRIMARY KEY)');
  const both = [one.client, other.client];
  for (const client of both) await client.query(`CREATE ROLE ${one.name} LOGIN SUPERUSER PASSWORD 'same'`);
  await other.client.query(`CREATE DATABASE ${one.name}`);
  let turn = 0;
  const balancer = createServer((socket) => {
    const [first, second] = [one.url, other.url].map((url) => Number(new URL(url).port));
    const server = connect(Number(turn % 2 === 0 ? first : second), '127.0.0.1');
    turn += 1;
    for (const end of [socket, server]) end.on('error', () => undefined);
    socket.pipe(server).pipe(socket);
  });
  await new Promise<void>((resolve) => balancer.listen(0, '127.0.0.1', resolve));
  try {
    const address = balancer.address();
    const url = new URL(one.urlFor(one.name, 'same'));
    url.port = String(typeof address === 'object' ? address?.port : '');
    const found = await ask(url.href, one.url, 'source.one_server');
    expect(found['source.one_server']).toMatchObject([
      { evidence: expect.stringMatching(/snapshot/) as string, fix: "name the server itself in the source's url" },
    ]);
  } finally {
    await new Promise<void>((resolve) => balancer.close(() => resolve()));
    await other.client.query(`DROP DATABASE ${one.name}`);
    for (const client of both) await client.query(`DROP ROLE ${one.name}`);
  }
});

/** What managed services give their administrators, as far as a server without their patches can have it. */
const SERVICES = `
  CREATE ROLE rds_replication; CREATE ROLE rds_superuser;
  GRANT pg_monitor, pg_signal_backend TO rds_superuser; GRANT rds_replication TO rds_superuser WITH ADMIN OPTION;
  CREATE ROLE on_rds LOGIN PASSWORD 'managed' CREATEDB CREATEROLE IN ROLE rds_superuser;
  CREATE ROLE made_on_rds LOGIN PASSWORD 'managed';
  CREATE ROLE on_supabase LOGIN PASSWORD 'managed' REPLICATION BYPASSRLS CREATEDB CREATEROLE; GRANT pg_monitor TO on_supabase;
  CREATE ROLE neon_superuser CREATEDB CREATEROLE BYPASSRLS REPLICATION IN ROLE pg_read_all_data, pg_write_all_data;
  CREATE ROLE on_neon LOGIN PASSWORD 'managed' CREATEDB CREATEROLE BYPASSRLS REPLICATION IN ROLE neon_superuser`;
const SERVICE_ROLES = [
  'on_rds',
  'made_on_rds',
  'on_supabase',
  'on_neon',
  'rds_superuser',
  'rds_replication',
  'neon_superuser',
];

test('roles of managed services, none a superuser: what they may not do is said with the statement of that service', async () => {
  await using source = await createDatabase(15, 'managed_source');
  await using target = await createDatabase(18, 'managed_target');
  await source.client.query(
    `CREATE TABLE public.t (id int PRIMARY KEY); GRANT SELECT ON public.t TO PUBLIC; ${SERVICES}`,
  );
  const ids = [
    'source.replication_role',
    'source.replication_connection',
    'servers.sessions',
    'source.rewrite_trigger',
    'source.publication',
  ];
  const of = async (role: string): Promise<Record<string, string[]>> => {
    const found = await ask(source.urlFor(role, 'managed'), target.url, ...ids);
    return Object.fromEntries(
      ids.map((id) => [id, found[id]?.map(({ evidence, fix }) => `${evidence} | ${fix}`) ?? []]),
    );
  };
  try {
    const trigger = [expect.stringContaining('is no superuser')];
    const publication = [expect.stringContaining('-- as the owner of the tables')];
    const rest = { 'source.rewrite_trigger': trigger, 'source.publication': publication };
    const seen = { 'servers.sessions': [] };
    // The server's own word is the last: this one does not know what rds_replication is for.
    const refused = { 'source.replication_connection': [expect.stringMatching(/replication/)] };
    expect(await of('on_rds')).toEqual({ ...rest, ...seen, ...refused, 'source.replication_role': [] });
    expect(await of('made_on_rds')).toEqual({
      ...rest,
      ...refused,
      'servers.sessions': [
        'source: the role made_on_rds is no member of pg_read_all_stats | GRANT pg_read_all_stats TO made_on_rds; -- of pg_monitor, which administrators of managed services may give',
      ],
      'source.replication_role': [expect.stringContaining('| GRANT rds_replication TO "made_on_rds";')],
    });
    const may = { 'source.replication_role': [], 'source.replication_connection': [] };
    expect(await of('on_supabase')).toEqual({ ...rest, ...seen, ...may });
    expect(await of('on_neon')).toEqual({
      ...rest,
      ...may,
      'servers.sessions': [expect.stringContaining('TO on_neon;')],
    });
  } finally {
    await source.client.query(SERVICE_ROLES.map((role) => `DROP OWNED BY ${role}; DROP ROLE ${role}`).join(';'));
  }
});
