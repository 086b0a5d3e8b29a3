import pg from 'pg';
import type { BenchCase } from '../bench-case.ts';
import { query } from '../bench-servers.ts';
import { requireEqual } from '../equality.ts';
import { measure, type Figures } from '../measure.ts';
import { BenchPipeline, currentLsn } from '../pipeline.ts';
import type { Report, RunResult } from '../result.ts';
import { BIG_RULE, BIG_TABLE } from './big-table.ts';

const MIB = 1024 * 1024;
/** No service may take more, whatever its source does. */
const MOST_MEMORY = 512 * MIB;

/** What a case writes at the source; `full` of it is what it is about, `size` scales that. */
interface Work {
  readonly name: string;
  readonly about: string;
  readonly full: number;
  readonly unit: RunResult['unit'];
  /** Before the load. */
  readonly before?: (count: number) => string;
  readonly write: (url: string, count: number) => Promise<void>;
}

/** A pipeline at rest meets the work while every service runs; measured until the target has it, then proven equal. */
function streamCase({ name, about, full, unit, before, write }: Work): BenchCase {
  return {
    name,
    about,
    async run(servers, options, report) {
      const count = Math.max(1, Math.round(full * options.size));
      const pair = await servers.pair(`bench_${name}`);
      await query(pair.source, `${BIG_TABLE}; ${before?.(count) ?? ''}`);
      await using pipeline = await BenchPipeline.open(servers, pair, { rule: BIG_RULE, profiles: options.profiles });
      pipeline.start(...pipeline.stages);
      await pipeline.reach('sink', await currentLsn(pair.source));
      await write(pair.source, count);
      const finish = await measure(servers, () => pipeline.pids);
      await pipeline.reach('sink', await currentLsn(pair.source));
      await end(pipeline, report, { case: name, variant: 'by stream', unit, count, figures: await finish() });
    },
  };
}

/** @throws Error where the target differs or a service took too much memory; the figures are reported before. */
async function end(pipeline: BenchPipeline, report: Report, result: RunResult): Promise<void> {
  await pipeline.stop(...pipeline.stages);
  await requireEqual(pipeline.pair.source, pipeline.pair.target);
  report(result);
  requireLittleMemory(result.figures);
  await pipeline.teardown();
}

function requireLittleMemory({ peaks }: Figures): void {
  for (const [service, bytes] of Object.entries(peaks))
    if (bytes > MOST_MEMORY) throw new Error(`${service} had ${Math.round(bytes / MIB)} MiB, more than 512`);
}

const transaction = streamCase({
  name: 'transaction',
  about: 'one transaction of 10 million rows',
  full: 10_000_000,
  unit: 'changes',
  write: (url, count) =>
    run(url, `INSERT INTO public.big SELECT i, i, 'row ' || i FROM generate_series(1, ${count}) i`),
});

const savepoints = streamCase({
  name: 'savepoints',
  about: 'one transaction with 10,000 savepoints, a third of them rolled back, then released',
  full: 10_000,
  unit: 'changes',
  write: async (url, count) => {
    const nested = `DO $$ BEGIN FOR i IN 1..${count} LOOP
        BEGIN
          INSERT INTO public.big VALUES (i, i, 'kept');
          IF i % 3 = 0 THEN RAISE EXCEPTION 'back'; END IF;
        EXCEPTION WHEN raise_exception THEN NULL; END;
      END LOOP; END $$`;
    await run(url, nested);
    await withClient(url, async (client) => {
      await client.query('BEGIN');
      for (let at = 0; at < count; at += 1000) {
        const level = Array.from({ length: Math.min(1000, count - at) }, (_, index) => at + index + 1);
        await client.query(
          level.map((i) => `SAVEPOINT s${i}; INSERT INTO public.big VALUES (${-i}, 0, 'deep')`).join(';'),
        );
      }
      await client.query(`ROLLBACK TO SAVEPOINT s${Math.max(1, Math.round(count / 2))}`);
      await client.query('COMMIT');
    });
  },
});

const tiny = streamCase({
  name: 'tiny',
  about: 'a backlog of 100,000 transactions of one row',
  full: 100_000,
  unit: 'changes',
  write: (url, count) =>
    run(
      url,
      `DO $$ BEGIN FOR i IN 1..${count} LOOP INSERT INTO public.big VALUES (i, i, 'tiny'); COMMIT; END LOOP; END $$`,
    ),
});

/** `count` MB each; texts that no compression takes away, then one that is all the same, changed beside it, key and all. */
const row = streamCase({
  name: 'row',
  about: 'a row of 100 MB: loaded, inserted, changed beside its text, moved to another key, deleted',
  full: 100,
  unit: 'MB',
  before: (count) =>
    `ALTER TABLE public.big ALTER body SET STORAGE EXTERNAL; INSERT INTO public.big VALUES (0, 0, ${bodyOf(count)})`,
  write: async (url, count) => {
    const body = bodyOf(count);
    await run(url, `INSERT INTO public.big VALUES (1, 1, ${body})`);
    await run(url, 'UPDATE public.big SET n = 2 WHERE id = 1');
    await run(url, 'UPDATE public.big SET id = 2 WHERE id = 1');
    await run(url, `INSERT INTO public.big VALUES (3, 3, ${body}); DELETE FROM public.big WHERE id = 2`);
  },
});

const tables: BenchCase = {
  name: 'tables',
  about: '10,000 tables: start and load, then a start again',
  async run(servers, options, report) {
    const count = Math.max(1, Math.round(10_000 * options.size));
    const pair = await servers.pair('bench_tables');
    for (let at = 1; at <= count; at += 500)
      await query(
        pair.source,
        `DO $$ BEGIN FOR i IN ${at}..${Math.min(count, at + 499)} LOOP
           EXECUTE format('CREATE TABLE public.t%s (id bigint PRIMARY KEY, n int, body text)', i);
           EXECUTE format('INSERT INTO public.t%s VALUES (1, %s, ''x'')', i, i);
         END LOOP; END $$`,
      );
    await using pipeline = await BenchPipeline.open(servers, pair, { rule: null, profiles: options.profiles });
    const loading = await measure(servers, () => pipeline.pids);
    pipeline.start(...pipeline.stages);
    await pipeline.reach('sink', await currentLsn(pair.source));
    const figures = await loading();
    report({ case: 'tables', variant: 'start and load', unit: 'tables', count, figures });
    requireLittleMemory(figures);
    await pipeline.stop(...pipeline.stages);
    const again = await measure(servers, () => pipeline.pids);
    pipeline.start(...pipeline.stages);
    await query(pair.source, `UPDATE public.t${count} SET n = n + 1`);
    await pipeline.reach('sink', await currentLsn(pair.source));
    await end(pipeline, report, {
      case: 'tables',
      variant: 'start again',
      unit: 'tables',
      count,
      figures: await again(),
    });
  },
};

/** Of what is open, nothing is confirmed and nothing is kept in memory: a restart reads it again from the slot. */
const open: BenchCase = {
  name: 'open',
  about: 'a transaction open while 3,600 batches of others pass and every service starts again, then committed',
  async run(servers, options, report) {
    const count = Math.max(4, Math.round(3_600 * options.size));
    const pair = await servers.pair('bench_open');
    await query(pair.source, BIG_TABLE);
    await using pipeline = await BenchPipeline.open(servers, pair, { rule: BIG_RULE, profiles: options.profiles });
    pipeline.start(...pipeline.stages);
    await pipeline.reach('sink', await currentLsn(pair.source));
    await withClient(pair.source, async (client) => {
      await client.query('BEGIN');
      await client.query(`INSERT INTO public.big SELECT -i, i, 'open' FROM generate_series(1, 1000) i`);
      const [begun] = await slotOf(pair.source);
      const finish = await measure(servers, () => pipeline.pids);
      for (let batch = 0; batch < count; batch += 1) {
        await query(
          pair.source,
          `INSERT INTO public.big SELECT ${batch * 1000} + i, i, repeat('w', 300) FROM generate_series(1, 1000) i`,
        );
        if (batch % Math.ceil(count / 4) !== 1) continue;
        await client.query(`INSERT INTO public.big VALUES (${-1_000_000 - batch}, 0, 'still open')`);
        await pipeline.stop(...pipeline.stages);
        pipeline.start(...pipeline.stages);
        await pipeline.reach('sink', await currentLsn(pair.source));
      }
      await pipeline.reach('sink', await currentLsn(pair.source));
      const [kept] = await slotOf(pair.source);
      if (kept?.restart !== begun?.restart && BigInt(kept?.behind ?? 0) < 1n)
        throw new Error('the slot let go of what is open');
      const seen = await query(pair.target, 'SELECT FROM public.big WHERE id < 0');
      if (seen.length > 0) throw new Error('a row of the open transaction is at the target');
      await client.query('COMMIT');
      await pipeline.reach('sink', await currentLsn(pair.source));
      const figures = await finish();
      await end(pipeline, report, {
        case: 'open',
        variant: 'by stream',
        unit: 'changes',
        count: count * 1000,
        figures,
      });
    });
  },
};

/** All of them: memory, and that the target is equal in the end. */
export const HUGE_AND_LONG: readonly BenchCase[] = [transaction, savepoints, tiny, row, tables, open];

/** Where the slot's WAL begins, and how many bytes of it a restart reads. */
function slotOf(url: string): Promise<{ restart: string; behind: string }[]> {
  return query(
    url,
    `SELECT restart_lsn::text AS restart, (pg_current_wal_lsn() - restart_lsn)::bigint::text AS behind
       FROM pg_replication_slots WHERE database = current_database() AND NOT temporary`,
  );
}

/** So many MB of text. */
function bodyOf(count: number): string {
  return `(SELECT string_agg(md5(i::text), '') FROM generate_series(1, ${Math.round((count * 1_000_000) / 32)}) i)`;
}

async function run(url: string, sql: string): Promise<void> {
  await query(url, sql);
}

async function withClient(url: string, use: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: 'restage bench' });
  await client.connect();
  try {
    await use(client);
  } finally {
    await client.end();
  }
}
