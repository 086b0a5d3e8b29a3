import type pg from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { readTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { openSchemaBuild, openTargetSchema } from '#adapters/postgres/target/open-target-schema.ts';
import { finishSchema, type SchemaFinish } from '#adapters/postgres/target/schema-finish.ts';
import type { TargetConfig } from '#core/config.ts';
import { NO_FAILPOINTS } from '#core/failpoints.ts';
import { newStatus, type ServiceStatus } from '#core/status.ts';
import { HoldRequests } from '../../services/cli/hold-requests.ts';
import { sink } from '../../services/sink/sink.ts';
import { isLongRun } from '../harness/chaos/long-run.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';
import { MemoryTopics, SCHEMAS_TOPIC } from '../harness/memory-topics.ts';
import {
  SNAPSHOT,
  TABLES_SQL,
  writeLateLoad,
  writeLoad,
  writeStream,
  type OriginTables,
} from '../harness/origin-history.ts';
import { until } from '../harness/until.ts';

/** A sink whose role may not set session_replication_role, and owns tables with triggers, rules and foreign keys. */
const PIPELINE = 'test';
const PASSWORD = 'plain';

let database: TestDatabase;
let role: string;
let url: string;
let topics: MemoryTopics;
let structures: OriginTables;

beforeAll(async () => {
  database = await createDatabase(15, 'origin');
  role = `${database.name}_role`;
  url = database.urlFor(role, PASSWORD);
  await database.client.query(`CREATE ROLE ${role} LOGIN PASSWORD '${PASSWORD}'`);
  await database.client.query(`GRANT CREATE ON DATABASE ${database.name} TO ${role}`);
});

afterAll(async () => {
  await database.client.query(`DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`);
  await database[Symbol.asyncDispose]();
});

beforeEach(async () => {
  await makeTables();
  topics = new MemoryTopics('life-1');
});

it('meets plain and deferrable keys by order, with triggers off from the first row to the switch', async () => {
  const before = await shape();
  writeLoad(topics, structures);
  writeStream(topics, structures);
  await runUntil(124);
  await expectRows();
  expect(await fired()).toBe(0);
  expect((await shape()).keys).toEqual(before.keys);
  expect(new Set((await shape()).hooks.filter((hook) => !hook.startsWith('days ')).map((hook) => hook.at(-1)))).toEqual(
    new Set(['D']),
  );
  const off = await shape();
  const planned = await finish(true);
  expect(planned.steps.map((step) => step.name)).toContain('always');
  expect(await shape()).toEqual(off);
  expect(await finish()).toEqual(planned);
  expect(await shape()).toEqual(before);
  expect(await finish()).toEqual({ isLoadDone: true, steps: [] });
});

async function expectLateRows(): Promise<void> {
  const { rows } = await database.client.query(
    'SELECT p.id, p.place, array_agg(c.id ORDER BY c.id) AS children FROM public.parent p LEFT JOIN public.child c ON c.parent = p.id GROUP BY p.id ORDER BY p.id',
  );
  expect(rows).toEqual([
    { id: 3, place: 33, children: [2, 3] },
    { id: 4, place: 44, children: [null] },
    { id: 5, place: 2, children: [null] },
    { id: 6, place: 6, children: [6] },
  ]);
}

it('takes a table again that others refer to, with their keys away meanwhile and nothing fired', async () => {
  const before = await shape();
  writeLoad(topics, structures);
  writeStream(topics, structures);
  await runUntil(124);
  writeLateLoad(topics, structures);
  await runUntil(142);
  await expectLateRows();
  expect(await fired()).toBe(0);
  expect((await shape()).keys).toEqual(before.keys);
  await finish();
  expect(await shape()).toEqual(before);
});

it('goes on with such a load, whichever query is the last one that reaches the server', async () => {
  const failures = await endEverywhere({ from: 3, step: isLongRun() ? 13 : 120 }, async (attempt) => {
    await runUntil(124);
    writeLateLoad(topics, structures);
    const isWhole = await attempt(142);
    await expectLateRows();
    return isWhole;
  });
  expect(failures).toBeGreaterThan(0);
});

/** Every seventeenth query is tried: the whole takes minutes on a busy machine. */
it('brings back exactly what there was, whichever query is the last one that reaches the server', async () => {
  const failures = await endEverywhere({ from: 1, step: 17 }, async (attempt) => {
    const isWhole = await attempt(124);
    await expectRows();
    return isWhole;
  });
  expect(failures).toBeGreaterThan(3);
});

/** One life after another ends after some queries, `attempt` says whether it came to its goal; the next one does. Returns how many did not. */
async function endEverywhere(
  { from, step }: { readonly from: number; readonly step: number },
  play: (attempt: (through: number) => Promise<boolean>) => Promise<boolean>,
): Promise<number> {
  const before = await shape();
  for (let survivors = from, failures = 0; ; survivors += step, failures += 1) {
    await makeTables();
    topics = new MemoryTopics('life-1');
    writeLoad(topics, structures);
    writeStream(topics, structures);
    const isWhole = await play(async (through) => {
      const hasCome = await runUntil(through, breakAfter(survivors)).then(
        () => true,
        () => false,
      );
      if (!hasCome) await runUntil(through);
      return hasCome;
    });
    expect(await fired()).toBe(0);
    await finish();
    expect(await shape()).toEqual(before);
    if (isWhole) return failures;
  }
}

it('takes nothing more once the operator gave the target away, not even with a new sink', async () => {
  writeLoad(topics, structures);
  const running = start();
  await until(() => running.status.load.isDone, { what: 'the load to be done' });
  await finish();
  topics.stream([{ structure: structures.parent, commit: 120, op: 'c', after: { id: 50, place: 50 } }]);
  await expect(running.ended).rejects.toMatchObject({ code: 'lease_lost' });
  const next = start();
  await until(() => next.status.state === 'paused' && next.status.detail.includes('schema finish'), {
    what: 'the new sink to rest',
  });
  next.stop.abort();
  await next.ended;
  expect((await database.client.query('SELECT FROM public.parent WHERE id = 50')).rowCount).toBe(0);
  const { hooks } = await shape();
  expect(hooks).toContain('parent always A');
});

it('says that the load is not done, and changes nothing', async () => {
  writeLoad(topics, structures, { isWhole: false });
  const running = start();
  await until(async () => (await database.client.query('SELECT FROM public.parent')).rowCount === 3, {
    what: 'the first chunk',
  });
  expect(await finish()).toEqual({ isLoadDone: false, steps: [] });
  running.stop.abort();
  await running.ended.catch(() => undefined);
  expect((await shape()).hooks).toContain('parent always D');
});

it.each([
  [
    'ALTER TABLE public.tree ALTER CONSTRAINT tree_key NOT DEFERRABLE',
    'ALTER TABLE "public"."tree" ALTER CONSTRAINT "tree_key" DEFERRABLE;',
  ],
  [
    'ALTER TABLE public.parent ADD CONSTRAINT back FOREIGN KEY (place) REFERENCES public.child',
    'ALTER TABLE "public"."child" ALTER CONSTRAINT "child_key" DEFERRABLE;',
  ],
  [
    'ALTER TABLE public.child DROP CONSTRAINT child_key, ADD CONSTRAINT child_key FOREIGN KEY (parent) REFERENCES public.parent ON DELETE SET NULL',
    'ALTER TABLE "public"."child" DROP CONSTRAINT "child_key"; -- and at the switch: ALTER TABLE "public"."child" ADD CONSTRAINT "child_key" FOREIGN KEY (parent) REFERENCES public.parent(id) ON DELETE SET NULL;',
  ],
])('refuses to start where %s, says what mends it, and starts then', async (sql, mended) => {
  await database.client.query(sql);
  writeLoad(topics, structures);
  const error: unknown = await start().ended.catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: 'foreign_key_unmet', fix: expect.stringContaining(mended) });
  expect((await database.client.query('SELECT FROM public.parent')).rowCount).toBe(0);
  await database.client.query((error as { fix: string }).fix);
  await runUntil(SNAPSHOT + 1);
  expect((await database.client.query('SELECT FROM public.parent')).rowCount).toBe(3);
});

async function makeTables(): Promise<void> {
  await database.client.query(
    `DROP SCHEMA IF EXISTS restage CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public`,
  );
  await database.client.query(`GRANT USAGE ON SCHEMA public TO ${role}; ${TABLES_SQL}`);
  for (const table of ['parent', 'child', 'tree', 'days', 'days_2020', 'fired'])
    await database.client.query(`ALTER TABLE public.${table} OWNER TO ${role}`);
  const known = await readTables(database.client, PIPELINE);
  structures = Object.fromEntries(known.map((structure) => [structure.table, structure])) as typeof structures;
}

async function expectRows(): Promise<void> {
  const read = async (sql: string): Promise<unknown> =>
    (await database.client.query<Record<string, unknown>>(sql)).rows;
  expect(await read('SELECT id, place FROM public.parent ORDER BY id')).toEqual([
    { id: 3, place: 3 },
    { id: 4, place: 44 },
    { id: 5, place: 2 },
  ]);
  expect(await read('SELECT id, parent FROM public.child ORDER BY id')).toEqual([
    { id: 2, parent: 4 },
    { id: 3, parent: 3 },
  ]);
  expect(await read('SELECT id, up FROM public.tree ORDER BY id')).toEqual([
    { id: 1, up: null },
    { id: 9, up: 1 },
    { id: 21, up: 22 },
    { id: 22, up: 9 },
  ]);
  expect(await read('SELECT parent FROM public.days')).toEqual([{ parent: 5 }]);
}

/** Foreign keys, and the state of every trigger and rule. */
async function shape(): Promise<{ readonly keys: string[]; readonly hooks: string[] }> {
  const list = async (sql: string): Promise<string[]> =>
    (await database.client.query<{ line: string }>(sql)).rows.map((row) => row.line).toSorted();
  return {
    keys: await list(
      `SELECT format('%s %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated) AS line FROM pg_constraint
        WHERE contype = 'f' AND connamespace = 'public'::regnamespace`,
    ),
    hooks: await list(
      `SELECT format('%s %s %s', tgrelid::regclass, tgname, tgenabled) AS line FROM pg_trigger WHERE NOT tgisinternal
       UNION ALL SELECT format('%s %s %s', ev_class::regclass, rulename, ev_enabled) FROM pg_rewrite WHERE ev_class = 'public.parent'::regclass`,
    ),
  };
}

async function fired(): Promise<number | null> {
  return (await database.client.query('SELECT FROM public.fired')).rowCount;
}

const TARGET = (): TargetConfig => ({ name: 'new', url, output: null, schema: 'require', loadWorkers: 2 });

async function finish(isDryRun = false): Promise<SchemaFinish> {
  const client = await connect();
  try {
    return await finishSchema(
      client,
      PIPELINE,
      openSchemaBuild({ pipeline: PIPELINE, target: TARGET(), failpoints: NO_FAILPOINTS }),
      isDryRun,
    );
  } finally {
    await client.end();
  }
}

interface RunningSink {
  readonly status: ServiceStatus;
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

function start(open: () => Promise<pg.Client> = connect): RunningSink {
  const status = newStatus('sink', 'new');
  const stop = new AbortController();
  const ended = sink(
    {
      pipeline: PIPELINE,
      target: TARGET(),
      reader: topics.reader,
      raw: topics.reader,
      schemasTopic: SCHEMAS_TOPIC,
      readStructures: () => Promise.resolve(topics.structures()),
      connect: open,
      failpoints: NO_FAILPOINTS,
      schema: openTargetSchema({ pipeline: PIPELINE, target: TARGET(), rules: [], failpoints: NO_FAILPOINTS }),
      status,
      gate: { isPaused: false, whenRunning: () => Promise.resolve() },
      hold: new HoldRequests(() => undefined),
      logger: pino({ level: 'silent' }),
      clock: Date.now,
    },
    stop.signal,
  );
  ended.catch(() => undefined);
  return { status, stop, ended };
}

/** Runs a sink until its position in the target has reached an LSN and the load is done, then drains it. */
async function runUntil(through: number, open?: () => Promise<pg.Client>): Promise<void> {
  const running = start(open);
  let hasEnded = false;
  running.ended.catch(() => undefined).finally(() => (hasEnded = true));
  await until(
    async () =>
      hasEnded ||
      (
        await database.client.query('SELECT FROM restage.checkpoint WHERE load_done AND through >= $1::pg_lsn', [
          `0/${through.toString(16)}`,
        ])
      ).rowCount === 1,
    { what: `the target has passed ${through}`, everyMs: 10 },
  );
  running.stop.abort();
  await running.ended;
}

function connect(): Promise<pg.Client> {
  return connectPg({ url, purpose: 'target', application: 'restage test origin' });
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
