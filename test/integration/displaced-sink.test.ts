import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { expect, test } from 'vitest';
import { resetTarget } from '#adapters/postgres/target/replay-reset.ts';
import { TargetState } from '#adapters/postgres/target/target-state.ts';
import { loadConfig } from '#core/config-load.ts';
import { lsnOf } from '#core/lsn.ts';
import { findDifferences } from '../harness/compare-tables.ts';
import { connect, createDatabase, type TestDatabase } from '../harness/database.ts';
import { startService } from '../harness/run-service.ts';
import { testKafka } from '../harness/servers.ts';
import { until } from '../harness/until.ts';

const TABLE = { schema: 'public', table: 't' };

test.each([
  ['restage.table_load', 'what explains its position goes'],
  ['restage.dead_letter', 'a table that it knows gets other columns'],
])(
  'a sink that was displaced while it waited for %s does not stop by what it sees then (%s): it loads the target anew',
  async (locked) => {
    await using source = await createDatabase(15, 'displaced_source');
    await using target = await createDatabase(15, 'displaced_target');
    await source.client.query(`CREATE TABLE public.t (id serial PRIMARY KEY, note text);
      INSERT INTO public.t (note) SELECT 'row ' || n FROM generate_series(1, 20) n`);
    const name = source.name.replaceAll('_', '-');
    const text = `name: ${name}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, heartbeatMs: 500 }
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: create }]
`;
    const config = loadConfig(text, 'displaced.yaml', {});
    await using producer = startService('producer', config);
    await producer.streaming();
    {
      await using sink = startService('sink', config, 'new');
      await until(() => sink.status.load.isDone, { what: 'the load done' });
      await source.client.query(`ALTER TABLE public.t ADD COLUMN more int; UPDATE public.t SET more = 1 WHERE id < 10`);
      await until(async () => (await findDifferences(source.url, target.url)).length === 0, { what: 'the new column' });
    }
    await source.client.query(`UPDATE public.t SET note = 'altered' WHERE id < 10`);
    await target.client.query('BEGIN');
    await target.client.query(`LOCK TABLE ${locked} IN ACCESS EXCLUSIVE MODE`);
    await using sink = startService('sink', config, 'new');
    await until(() => isWaitedFor(target, locked), { what: `the sink to wait for ${locked}` });
    await displace(target.client, name);
    await target.client.query('COMMIT');

    const isEqual = async (): Promise<boolean> =>
      sink.status.load.isDone && (await findDifferences(source.url, target.url)).length === 0;
    await sink.orStops(until(isEqual, { what: 'the rows, loaded again' }));
  },
);

test('a position that begins while its target is emptied begins after that, with all of what explains it', async () => {
  await using target = await createDatabase(15, 'displaced_begin');
  await using sink = await openClient(target);
  const [before, after] = [new TargetState('shop', randomUUID()), new TargetState('shop', randomUUID())];
  await before.prepare(target.client);
  await target.client.query('BEGIN');
  await resetTarget(target.client, 'shop', []);
  const begun = after.begin(sink.client, 'life', 3n, lsnOf(1n));
  await until(() => isWaiting(target, sink.pid), { what: 'the position to wait' });
  await target.client.query('COMMIT');
  await begun;
  expect(await after.open(sink.client)).toMatchObject({ incarnation: 'life', planOffset: 3n });
  await after.requireUntaken(sink.client);
  await target.client.query('BEGIN');
  await resetTarget(target.client, 'shop', []);
  await target.client.query('COMMIT');
  await expect(after.requireUntaken(sink.client)).rejects.toMatchObject({ code: 'lease_lost' });
  await before.requireUntaken(sink.client);
  expect(await before.open(sink.client)).toBeNull();
});

/** What a forced replay does first, from another session. */
async function displace(client: pg.Client, name: string): Promise<void> {
  await resetTarget(client, name, [TABLE]);
  await client.query('ALTER TABLE public.t DROP COLUMN more');
}

async function isWaitedFor({ client }: TestDatabase, table: string): Promise<boolean> {
  const sql = 'SELECT FROM pg_locks WHERE relation = $1::regclass AND NOT granted';
  return ((await client.query(sql, [table])).rowCount ?? 0) > 0;
}

interface Session extends AsyncDisposable {
  readonly client: pg.Client;
  readonly pid: number;
}

async function openClient({ url }: TestDatabase): Promise<Session> {
  const client = await connect(url);
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  return { client, pid: rows[0]?.pid ?? 0, [Symbol.asyncDispose]: () => client.end() };
}

async function isWaiting({ client }: TestDatabase, pid: number): Promise<boolean> {
  return (await client.query('SELECT FROM pg_locks WHERE pid = $1 AND NOT granted', [pid])).rowCount === 1;
}
