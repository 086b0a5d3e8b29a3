import { expect } from 'vitest';
import { runCli } from './cli.ts';
import type { TestDatabase } from './database.ts';
import { openPair, type PipelinePair } from './pipeline-pair.ts';
import { until } from './until.ts';

export interface LatePipelineOptions {
  readonly versions?: readonly [15 | 18, 15 | 18];
  readonly schema?: 'copy' | 'create' | 'require';
  /** Lines of YAML for `source:`, and for the top level. */
  readonly source?: string;
  readonly more?: string;
  readonly prepare: (source: TestDatabase, target: TestDatabase) => Promise<void>;
}

export function openLatePipeline(options: LatePipelineOptions): Promise<PipelinePair> {
  const { versions = [15, 15], schema = 'copy', source = '', more, prepare } = options;
  return openPair({
    name: 'late',
    versions,
    schema,
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

export async function askSnapshot({ config }: PipelinePair, ...tables: readonly string[]): Promise<void> {
  const asked = await runCli(['snapshot', '-c', config, '--yes', ...tables.flatMap((table) => ['--table', table])]);
  expect(asked, asked.stderr).toMatchObject({ code: 0 });
}
