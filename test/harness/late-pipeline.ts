import { expect } from 'vitest';
import { readAudit } from './audit.ts';
import { runCli, type CliProcess } from './cli.ts';
import type { TestDatabase } from './database.ts';
import { openPair, type PipelinePair } from './pipeline-pair.ts';
import { until } from './until.ts';

export interface LatePipelineOptions {
  readonly versions?: readonly [15 | 18, 15 | 18];
  readonly schema?: 'copy' | 'create' | 'require';
  readonly partitions?: number;
  /** Lines of YAML for `source:`, and for the top level. */
  readonly source?: string;
  readonly more?: string;
  readonly prepare: (source: TestDatabase, target: TestDatabase) => Promise<void>;
}

export function openLatePipeline(options: LatePipelineOptions): Promise<PipelinePair> {
  const { versions = [15, 15], schema = 'copy', partitions = 1, source = '', more, prepare } = options;
  return openPair({
    name: 'late',
    versions,
    schema,
    partitions,
    source: `heartbeatMs: 1000${source}`,
    ...(more === undefined ? {} : { more }),
    prepare,
  });
}

/** Until everything committed so far is at the target. */
export async function arrive({ config }: PipelinePair): Promise<void> {
  const waited = await runCli(['wait', '-c', config, '--target', 'new', '--timeout', '120'], {}, 150_000);
  expect(waited, waited.stderr).toMatchObject({ code: 0 });
}

/** The number of the load that a target's table came with; 0 before there is one that is done. */
export async function loadOf({ target }: PipelinePair, topicEnd: string): Promise<number> {
  const { rows } = await target.client.query<{ load: number }>(
    'SELECT load FROM restage.table_load WHERE right(topic, length($1)) = $1 AND snapshot IS NOT NULL',
    [topicEnd],
  );
  return rows[0]?.load ?? 0;
}

/** Until a table has come with a later load than this one. */
export async function loadedAfter(pipeline: PipelinePair, topicEnd: string, before: number): Promise<void> {
  await until(async () => (await loadOf(pipeline, topicEnd)) > before, {
    what: `a load of ${topicEnd} after load ${before}`,
    timeoutMs: 110_000,
  });
}

export async function askSnapshot(
  { config, source, target }: PipelinePair,
  ...tables: readonly string[]
): Promise<void> {
  const asked = await runCli(['snapshot', '-c', config, '--yes', ...tables.flatMap((table) => ['--table', table])]);
  expect(asked, asked.stderr).toMatchObject({ code: 0 });
  const audit = await readAudit(target, source.name.replaceAll('_', '-'));
  expect(audit.at(-1)).toMatch(new RegExp(`^snapshot .*tables=${tables.join(', ')}$`));
}

/** How many late loads wait for their snapshot, or read under it. */
export async function slotWaits({ source }: PipelinePair): Promise<number> {
  const { rows } = await source.client.query<{ n: number }>(
    `SELECT count(*)::int AS n FROM pg_replication_slots WHERE temporary AND slot_name LIKE '%load%' AND database = current_database()`,
  );
  return rows[0]?.n ?? 0;
}

/** Of a late load nothing stays: no slot at the source, no shadow and no note at the target. */
export async function leftovers({ source, target }: PipelinePair): Promise<unknown[]> {
  const slots = await source.client.query(
    'SELECT slot_name FROM pg_replication_slots WHERE temporary AND database = current_database()',
  );
  const shadows = await target.client.query(
    `SELECT relname FROM pg_class WHERE relnamespace = 'restage'::regnamespace AND relkind = 'r' AND relname ~ '^late_[0-9a-f]{16}$'`,
  );
  const notes = await target.client.query('SELECT topic FROM restage.late_table');
  return [...slots.rows, ...shadows.rows, ...notes.rows];
}

/** What is waited for; fails at once when the run ends before. */
export async function orEnd<T>(run: CliProcess, waited: Promise<T>): Promise<T> {
  const ended = run.result(230_000).then(({ code, stderr }) => {
    throw new Error(`the run ended with ${code}:\n${stderr}`);
  });
  ended.catch(() => undefined);
  return Promise.race([waited, ended]);
}
