import type pg from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { readTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { openTargetSchema } from '#adapters/postgres/target/open-target-schema.ts';
import type { TargetConfig } from '#core/config.ts';
import type { PauseGate } from '#core/control.ts';
import { NO_FAILPOINTS } from '#core/failpoints.ts';
import { lsnOf } from '#core/lsn.ts';
import { newStatus, type ServiceStatus } from '#core/status.ts';
import type { TableStructure } from '#core/structure.ts';
import type { TargetSchema } from '#core/target-schema.ts';
import { HoldRequests, writeHold } from '../../services/cli/hold-requests.ts';
import { sink } from '../../services/sink/sink.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { MemoryTopics, SCHEMAS_TOPIC, type TestChange } from '../harness/memory-topics.ts';
import { until } from '../harness/until.ts';

const PIPELINE = 'test';
const SNAPSHOT = 100;
let database: TestDatabase;
let item: TableStructure;
let tag: TableStructure;
let topics: MemoryTopics;
let calls: string[];

beforeAll(async () => {
  database = await createDatabase(15, 'sink');
  await database.client.query(
    'CREATE TABLE public.item (id int PRIMARY KEY, name text, big text); CREATE TABLE public.tag (name text)',
  );
  await database.client.query('ALTER TABLE public.tag REPLICA IDENTITY FULL');
  const tables = await readTables(database.client, PIPELINE);
  [item, tag] = ['item', 'tag'].map((name) => tables.find(({ table }) => table === name)) as [
    TableStructure,
    TableStructure,
  ];
});

afterAll(async () => {
  await database[Symbol.asyncDispose]();
});

beforeEach(async () => {
  await database.client.query('DROP SCHEMA IF EXISTS restage CASCADE; TRUNCATE public.item, public.tag');
  topics = new MemoryTopics('life-1');
  calls = [];
});

it('loads, then streams from the plan, dropping what each snapshot has already', async () => {
  writePipeline();
  await runUntil(111);
  await expectPipeline();
  expect(calls).toEqual(['preData', 'postLoad', 'whenCaughtUp']);
  expect(await one('SELECT load_done, pass, through::text AS through FROM restage.checkpoint')).toEqual({
    load_done: true,
    pass: 2,
    through: '0/6F',
  });
});

/** Every third query is tried: the whole takes minutes on a busy machine. */
it('repeats nothing, whichever query is the last one that reaches the server', async () => {
  writePipeline();
  let failures = 0;
  for (let survivors = 1; ; survivors += 3) {
    await database.client.query('DROP SCHEMA IF EXISTS restage CASCADE; TRUNCATE public.item, public.tag');
    if (
      await runUntil(111, breakAfter(survivors)).then(
        () => true,
        () => false,
      )
    )
      break;
    failures += 1;
    await runUntil(111);
    await expectPipeline();
  }
  expect(failures).toBeGreaterThan(15);
});

it('shows nothing of an epoch before its last part', async () => {
  writePipeline();
  topics.stream([{ structure: item, commit: 120, op: 'c', after: { id: 50, name: 'first part', big: null } }], {
    last: false,
  });
  topics.stream([{ structure: item, commit: 120, op: 'u', after: { id: 50, name: 'second part' } }], { last: false });
  await runUntil(111);
  await expectPipeline();
  topics.stream([{ structure: item, commit: 120, op: 'c', after: { id: 51, name: 'last part', big: null } }]);
  await runUntil(121);
  expect(await all('SELECT id, name FROM public.item WHERE id >= 50 ORDER BY id')).toEqual([
    { id: 50, name: 'second part' },
    { id: 51, name: 'last part' },
  ]);
});

it('takes a table anew when a later plan names it, and says so in the journal', async () => {
  topics.plan(1, [item]);
  topics.chunk(1, item, 0, [{ id: 1, name: 'of the lost snapshot', big: null }]);
  topics.plan(2, [item]);
  topics.chunk(2, item, 0, [{ id: 2, name: 'of the new one', big: null }]);
  topics.tableEnd(2, item, SNAPSHOT);
  topics.end(2);
  topics.empty(SNAPSHOT + 1);
  await runUntil(SNAPSHOT + 1);
  expect(await all('SELECT id, name FROM public.item')).toEqual([{ id: 2, name: 'of the new one' }]);
  expect(await one(`SELECT step, detail FROM restage.journal WHERE step LIKE 'load:%'`)).toEqual({
    step: 'load:2:retake',
    detail: { topics: [item.topic] },
  });
});

it('loads chunks by the structure of their snapshot, whatever came later', async () => {
  const older: TableStructure = { ...item, columns: item.columns.filter(({ name }) => name !== 'big') };
  topics.plan(1, [older]);
  topics.stream([{ structure: item, commit: 110, op: 'c', after: { id: 2, name: 'later', big: 'B' } }], {
    announce: [item],
  });
  topics.chunk(1, older, 0, [{ id: 1, name: 'first' }]);
  topics.tableEnd(1, older, SNAPSHOT);
  topics.end(1);
  await runUntil(111);
  expect(await all('SELECT id, name, big FROM public.item ORDER BY id')).toEqual([
    { id: 1, name: 'first', big: null },
    { id: 2, name: 'later', big: 'B' },
  ]);
});

it('leaves out a TRUNCATE that the snapshot has already', async () => {
  topics.plan(1, [item]);
  topics.chunk(1, item, 0, [{ id: 1, name: 'kept', big: null }]);
  topics.tableEnd(1, item, SNAPSHOT);
  topics.end(1);
  topics.stream([], { control: [topics.truncate([item], SNAPSHOT - 1)] });
  topics.empty(SNAPSHOT + 1);
  await runUntil(SNAPSHOT + 1);
  expect(await all('SELECT name FROM public.item')).toEqual([{ name: 'kept' }]);
});

it('stops when somebody else wrote to the target, and not before it has rolled back', async () => {
  writePipeline();
  await runUntil(111);
  await database.client.query('DELETE FROM public.item WHERE id = 3');
  topics.stream([
    { structure: item, commit: 120, op: 'u', after: { id: 2, name: 'never seen' } },
    { structure: item, commit: 120, op: 'u', after: { id: 3, name: 'gone' } },
  ]);
  await expect(runUntil(121)).rejects.toMatchObject({
    code: 'target_drift',
    where: expect.stringMatching(/public\.item.*id=3/),
  });
  expect(await one('SELECT name FROM public.item WHERE id = 2')).toEqual({ name: 'b' });
});

it('changes nothing once another holder took the target over', async () => {
  writePipeline();
  const first = start();
  await until(() => first.status.load.isDone && first.status.through === '0/6F', { what: 'the first sink caught up' });
  await database.client.query('UPDATE restage.checkpoint SET lease_token = gen_random_uuid()');
  topics.stream([{ structure: item, commit: 120, op: 'c', after: { id: 60, name: 'x', big: null } }]);
  await expect(first.ended).rejects.toMatchObject({ code: 'lease_lost' });
  await expectPipeline();
});

it('ends the session that a holder before left in the middle of an epoch', async () => {
  writePipeline();
  await runUntil(111);
  const stale = await connect();
  await stale.query('BEGIN; SELECT FROM restage.checkpoint FOR UPDATE');
  topics.stream([{ structure: item, commit: 120, op: 'c', after: { id: 60, name: 'x', big: null } }]);
  await runUntil(121);
  await expect(stale.query('SELECT 1')).rejects.toThrow();
});

it('refuses state of another life, and of a newer form', async () => {
  writePipeline();
  await runUntil(111);
  topics = new MemoryTopics('life-2');
  writePipeline();
  await expect(start().ended).rejects.toMatchObject({ code: 'state_foreign' });
  await database.client.query('UPDATE restage.checkpoint SET format = 99');
  await expect(start().ended).rejects.toMatchObject({ code: 'state_newer' });
});

it('never skips a load that begins unannounced after the first one has ended', async () => {
  writePipeline();
  topics.plan(2, [item]);
  await expect(runUntil(500)).rejects.toMatchObject({ code: 'manifest_invalid' });
});

it('stands still at the end of an epoch, then at exactly the LSN asked for, and goes on with the rest of what it cut', async () => {
  writePipeline();
  const running = start();
  await until(() => running.status.through === '0/6F', { what: 'the sink caught up' });
  running.hold.take(holdRecord('a', null));
  await until(() => running.status.held === 'a', { what: 'the sink to stand' });
  const added = (id: number, commit: number): TestChange => ({
    structure: item,
    commit,
    op: 'c',
    after: { id, name: `of ${commit}`, big: null },
  });
  topics.stream([added(20, 120), added(21, 121)], { last: false });
  topics.stream([added(22, 122), added(23, 130), added(24, 131)], { last: false });
  topics.stream([{ structure: item, commit: 140, op: 'u', after: { id: 22, name: 'later' } }], {
    control: [topics.truncate([tag], 141)],
  });
  running.hold.take(holdRecord('a', 130));
  await until(async () => (await storedThrough()) === '0/82', { what: 'the sink at 130' });
  expect(running.status).toMatchObject({ state: 'held', held: 'a', through: '0/82' });
  expect(await all('SELECT id, name FROM public.item WHERE id >= 20 ORDER BY id')).toEqual([
    { id: 20, name: 'of 120' },
    { id: 21, name: 'of 121' },
    { id: 22, name: 'of 122' },
  ]);
  expect(await all('SELECT name FROM public.tag')).toEqual([{ name: 'twice' }]);
  running.stop.abort();
  await running.ended;

  const next = start();
  await until(() => next.status.through === '0/8D', { what: 'the rest' });
  expect(await all('SELECT id, name FROM public.item WHERE id >= 22 ORDER BY id')).toEqual([
    { id: 22, name: 'later' },
    { id: 23, name: 'of 130' },
    { id: 24, name: 'of 131' },
  ]);
  expect(await all('SELECT name FROM public.tag')).toEqual([]);
  next.hold.take(holdRecord('b', 150));
  topics.empty(200);
  await until(() => next.status.held === 'b', { what: 'the sink at 150' });
  expect(await storedThrough()).toBe('0/96');
  next.hold.take(null);
  topics.stream([added(25, 201)]);
  await until(() => next.status.through === '0/CA', { what: 'the sink to go on' });
  expect(next.status).toMatchObject({ state: 'streaming', held: '' });
  next.stop.abort();
  await next.ended;
});

it('counts what waits while it is paused, and nothing once it has caught up', async () => {
  writePipeline();
  await runUntil(111);
  let resume: (() => void) | undefined;
  const held = new Promise<void>((resolve) => (resume = resolve));
  const running = start(connect, { isPaused: true, whenRunning: () => held });
  topics.stream(
    [60, 61].map((id) => ({ structure: item, commit: 300, op: 'c', after: { id, name: 'x', big: null } })),
    { commitTime: 1_000_000 },
  );
  topics.stream([{ structure: item, commit: 400, op: 'd', before: { id: 60 } }]);
  const { status } = running;
  await until(() => status.lagEvents === 3, { what: 'the waiting events counted' });
  expect(status).toMatchObject({ through: '0/6F', lagBytes: 401 - 111 });
  expect(status.lagSeconds).toBeGreaterThan(1_000);
  resume?.();
  await until(() => status.through === '0/191' && status.lagEvents === 0 && status.lagBytes === 0, {
    what: 'the lag gone',
  });
  running.stop.abort();
  await running.ended;
});

/** Two tables whose stream overlaps the load, as a producer writes it. */
function writePipeline(): void {
  topics.plan(1, [item, tag]);
  topics.stream([{ structure: item, commit: 90, op: 'c', after: { id: 1, name: 'in the snapshot', big: 'A' } }]);
  topics.chunk(1, item, 0, [
    { id: 1, name: 'in the snapshot', big: 'A' },
    { id: 2, name: 'b', big: 'B' },
    { id: 3, name: 'c', big: null },
  ]);
  topics.stream([
    { structure: item, commit: 105, op: 'u', after: { id: 1, name: 'a' } },
    { structure: tag, commit: 105, op: 'd', before: { name: 'twice' } },
  ]);
  topics.chunk(1, item, 1, [{ id: 4, name: 'd', big: null }]);
  topics.tableEnd(1, item, SNAPSHOT);
  topics.chunk(1, tag, 0, [{ name: 'twice' }, { name: 'twice' }]);
  topics.tableEnd(1, tag, SNAPSHOT);
  topics.end(1);
  topics.stream([
    { structure: item, commit: 110, op: 'd', before: { id: 4 } },
    { structure: item, commit: 110, op: 'c', after: { id: 9, name: 'new', big: null } },
  ]);
}

async function expectPipeline(): Promise<void> {
  expect(await all('SELECT id, name, big FROM public.item ORDER BY id')).toEqual([
    { id: 1, name: 'a', big: 'A' },
    { id: 2, name: 'b', big: 'B' },
    { id: 3, name: 'c', big: null },
    { id: 9, name: 'new', big: null },
  ]);
  expect(await all('SELECT name FROM public.tag')).toEqual([{ name: 'twice' }]);
}

interface RunningSink {
  readonly status: ServiceStatus;
  readonly hold: HoldRequests;
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

const RUNNING: PauseGate = { isPaused: false, whenRunning: () => Promise.resolve() };

function start(open: () => Promise<pg.Client> = connect, gate = RUNNING): RunningSink {
  const target: TargetConfig = { name: 'new', url: database.url, output: null, schema: 'require', loadWorkers: 2 };
  const status = newStatus('sink', 'new');
  const { reader } = topics;
  const hold = new HoldRequests((id) => (status.held = id ?? ''));
  const stop = new AbortController();
  const ended = sink(
    {
      pipeline: PIPELINE,
      target,
      reader,
      raw: reader,
      schemasTopic: SCHEMAS_TOPIC,
      readStructures: () => Promise.resolve(topics.structures()),
      connect: open,
      failpoints: NO_FAILPOINTS,
      schema: noted(openTargetSchema({ pipeline: PIPELINE, target, rules: [], failpoints: NO_FAILPOINTS })),
      status,
      gate,
      hold,
      logger: pino({ level: 'silent' }),
      clock: Date.now,
    },
    stop.signal,
  );
  ended.catch(() => undefined);
  return { status, hold, stop, ended };
}

/** Runs a sink until its position in the target has reached an LSN and the load is done, then drains it. */
async function runUntil(through: number, open?: () => Promise<pg.Client>): Promise<void> {
  const running = start(open);
  let hasEnded = false;
  running.ended.catch(() => undefined).finally(() => (hasEnded = true));
  const reached = 'SELECT FROM restage.checkpoint WHERE load_done AND through >= $1::pg_lsn';
  await until(
    async () => hasEnded || (await database.client.query(reached, [`0/${through.toString(16)}`])).rowCount === 1,
    { what: `the target has passed ${through}`, everyMs: 10 },
  );
  running.stop.abort();
  await running.ended;
}

function holdRecord(id: string, lsn: number | null): Buffer {
  return Buffer.from(writeHold({ id, lsn: lsn === null ? null : lsnOf(BigInt(lsn)) }));
}

async function storedThrough(): Promise<unknown> {
  const { rows } = await database.client.query<{ through: string }>(
    'SELECT through::text AS through FROM restage.checkpoint',
  );
  return rows[0]?.through;
}

function noted(schema: TargetSchema): TargetSchema {
  return {
    makesTables: schema.makesTables,
    preData: (tables) => (calls.push('preData'), schema.preData(tables)),
    postLoad: () => (calls.push('postLoad'), schema.postLoad()),
    whenCaughtUp: () => (calls.push('whenCaughtUp'), schema.whenCaughtUp()),
  };
}

function connect(): Promise<pg.Client> {
  return connectPg({ url: database.url, purpose: 'target', application: 'restage test sink' });
}

/** Sessions of one sink that all break once they have sent so many queries together. */
function breakAfter(queries: number): () => Promise<pg.Client> {
  let left = queries;
  const sessions: pg.Client[] = [];
  return async () => {
    const client = await connect();
    sessions.push(client);
    const query = client.query.bind(client) as (...args: unknown[]) => unknown;
    Object.assign(client, {
      query: (...args: unknown[]) => {
        left -= 1;
        if (left < 0) for (const session of sessions) session.connection.stream.destroy();
        return query(...args);
      },
    });
    return client;
  };
}

async function all(sql: string): Promise<unknown[]> {
  return (await database.client.query<Record<string, unknown>>(sql)).rows;
}

async function one(sql: string): Promise<unknown> {
  return (await all(sql))[0];
}
