import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { setGate } from '#adapters/postgres/migration/side-state.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { LaneState } from '#adapters/postgres/target/lane-state.ts';
import { readSplitTopics } from '#adapters/postgres/target/split-tables.ts';
import { findSpread, readProgress, SpreadState } from '#adapters/postgres/target/spread-state.ts';
import { TargetState } from '#adapters/postgres/target/target-state.ts';
import { loadConfig } from '#core/config-load.ts';
import { lsnOf } from '#core/lsn.ts';
import { requireReadyTarget } from '../../services/sink/preflight.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { makeColumn, makeTable } from '../harness/structures.ts';

let target: TestDatabase;

beforeAll(async () => {
  target = await createDatabase(15, 'lanes');
});

afterAll(async () => {
  await target[Symbol.asyncDispose]();
});

const FROM = { nextOffset: 7n, through: lsnOf(100n), epoch: 3 };
const NOTHING = { insert: 0, update: 0, delete: 0 };
const ID = '6d9d0b5e-0000-4000-8000-000000000001';
const TOKENS = ['6d9d0b5e-0000-4000-8000-00000000000a', '6d9d0b5e-0000-4000-8000-00000000000b'] as const;

test('rows may be taken apart where equal keys have equal text, and nothing at the target binds one row to another', async () => {
  await target.client.query(`
    CREATE TABLE public.plain (id int PRIMARY KEY, more text, at int4range);
    CREATE TABLE public.wider (id int PRIMARY KEY, more text, at int4range, UNIQUE (more, id));
    CREATE TABLE public.second (id int PRIMARY KEY, more text UNIQUE, at int4range);
    CREATE TABLE public.partly (id int PRIMARY KEY, more text, at int4range);
    CREATE UNIQUE INDEX ON public.partly (lower(more)) WHERE id > 0;
    CREATE TABLE public.apart (id int PRIMARY KEY, more text, at int4range, EXCLUDE USING gist (at WITH &&));
    CREATE TABLE public.exact (id numeric PRIMARY KEY, more text, at int4range);
    CREATE TABLE public.heap (id int, more text, at int4range);
    CREATE TABLE public.watched (id int PRIMARY KEY, more text, at int4range);
    CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER look AFTER INSERT ON public.watched FOR EACH ROW EXECUTE FUNCTION public.look();
    ALTER TABLE public.watched ENABLE REPLICA TRIGGER look;
    CREATE TABLE public.parted (id int PRIMARY KEY, more text, at int4range) PARTITION BY RANGE (id);
    CREATE TABLE public.parted_1 PARTITION OF public.parted (UNIQUE (more)) DEFAULT`);
  const columns = [makeColumn('id', 'int4'), makeColumn('more', 'text')];
  const structures = ['plain', 'wider', 'second', 'partly', 'apart', 'exact', 'heap', 'watched', 'parted', 'gone'].map(
    (name) => {
      const table = makeTable('test', name, columns);
      return name === 'heap' ? { ...table, identity: { ...table.identity, columns: [] } } : table;
    },
  );
  expect(await readSplitTopics(target.client, structures)).toEqual(['test.public.plain', 'test.public.wider']);
});

test('a lane applies under its own token and that of whoever leads, never past where all are to meet; what is not whole is refused', async () => {
  const { client } = target;
  await using other = await openClient(target.url);
  const [first, second] = TOKENS.map((token) => new TargetState('shop', token));
  const spreads = new SpreadState('shop');
  if (first === undefined || second === undefined) throw new Error('two tokens');
  await first.prepare(client);
  await first.begin(client, 'life', 0n, lsnOf(1n));
  const lane = new LaneState('shop', 1, TOKENS[1]);
  expect(await lane.spread(client)).toBeNull();
  const spread = { id: ID, lanes: 2, split: ['shop.public.t'], until: null };
  await spreads.open(client, spread, FROM);
  expect(await findSpread(client, 'shop')).toEqual(spread);
  expect(await lane.guard(client, spread)).toBeUndefined();
  expect(await lane.take(client, spread)).toEqual(FROM);
  expect(await lane.guard(client, spread)).toBeNull();
  await lane.moveTo(client, { ...FROM, nextOffset: 9n }, { ...NOTHING, insert: 2 });
  await spreads.converge(client, 9n);
  expect(await lane.guard(client, spread)).toBe(9n);
  expect((await readProgress(client, 'shop')).map(({ nextOffset, counts }) => [nextOffset, counts.insert])).toEqual([
    [7n, 0],
    [9n, 2],
  ]);

  // Another life of the main loop: nothing is applied before it leads.
  await second.open(client);
  expect([await lane.guard(client, spread), await lane.spread(client)]).toEqual([undefined, null]);
  expect(await spreads.adopt(client)).toEqual({ ...spread, until: 9n });
  expect(await lane.guard(client, spread)).toBe(9n);

  // A switch waits for what a lane has in hand, and then none begins anything.
  await other.client.query('BEGIN');
  expect(await lane.guard(other.client, spread)).toBe(9n);
  await client.query(
    'CREATE TABLE IF NOT EXISTS restage.sink_gate (pipeline text PRIMARY KEY, is_closed boolean NOT NULL, reason text NOT NULL)',
  );
  await client.query("SET lock_timeout = '200ms'");
  await expect(setGate(client, 'shop', { isClosed: true, reason: 'a switch' })).rejects.toThrow('lock timeout');
  await other.client.query('COMMIT');
  await setGate(client, 'shop', { isClosed: true, reason: 'a switch' });
  expect(await lane.guard(client, spread)).toBeUndefined();

  await client.query('DELETE FROM restage.lane WHERE lane = 1');
  await expect(spreads.adopt(client)).rejects.toMatchObject({ code: 'state_damaged' });
  await client.query('DELETE FROM restage.spread');
  await expect(spreads.adopt(client)).rejects.toMatchObject({ code: 'state_damaged' });
  await spreads.close(client);
  expect(await spreads.adopt(client)).toBeNull();
});

test('a role that may not set session_replication_role is told so before anything is made', async () => {
  const role = `plain_${Date.now()}`;
  await target.client.query(`CREATE ROLE ${role} LOGIN PASSWORD 'plain'`);
  try {
    const config = loadConfig(
      `name: shop
kafka: { brokers: ["127.0.0.1:1"], topics: { partitions: 2 } }
source: { postgres: { url: "${target.url}" } }
targets: [{ name: new, postgres: { url: "${target.urlFor(role, 'plain')}" }, ordering: key }]
`,
      'lanes.yaml',
      {},
    );
    const [only] = config.targets;
    if (only === undefined) throw new Error('a target');
    await expect(requireReadyTarget(config, only, pino({ level: 'silent' }))).rejects.toMatchObject({
      code: 'target_denied',
      fix: expect.stringContaining('GRANT SET ON PARAMETER session_replication_role') as unknown,
    });
  } finally {
    await target.client.query(`DROP ROLE ${role}`);
  }
});

async function openClient(url: string): Promise<{ client: Awaited<ReturnType<typeof connectPg>> } & AsyncDisposable> {
  const client = await connectPg({ url, purpose: 'target', application: 'lanes test' });
  return { client, [Symbol.asyncDispose]: () => client.end() };
}
