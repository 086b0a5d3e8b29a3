import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'vitest';
import { runCli } from './cli.ts';
import { createDatabase, type TestDatabase } from './database.ts';
import { testKafka } from './servers.ts';
import { until } from './until.ts';

export interface LatePipelineOptions {
  readonly versions?: readonly [15 | 18, 15 | 18];
  readonly schema?: 'copy' | 'create' | 'require';
  /** Lines of YAML for `source:`, and for the top level. */
  readonly source?: string;
  readonly more?: string;
  readonly prepare: (source: TestDatabase, target: TestDatabase) => Promise<void>;
}

export interface LatePipeline extends AsyncDisposable {
  readonly source: TestDatabase;
  readonly target: TestDatabase;
  readonly config: string;
}

/** A source, a target and a configuration between them. */
export async function openLatePipeline(options: LatePipelineOptions): Promise<LatePipeline> {
  const [from, to] = options.versions ?? [15, 15];
  const source = await createDatabase(from, 'late_source');
  const target = await createDatabase(to, 'late_target');
  const folder = await mkdtemp(path.join(tmpdir(), 'restage-late-'));
  const config = path.join(folder, 'restage.yaml');
  await options.prepare(source, target);
  await writeFile(
    config,
    `
name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"] }
source: { postgres: { url: "${source.url}" }, heartbeatMs: 1000${options.source ?? ''} }
${options.more ?? ''}
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: ${options.schema ?? 'copy'} }]
`,
  );
  return {
    source,
    target,
    config,
    async [Symbol.asyncDispose]() {
      await source[Symbol.asyncDispose]();
      await target[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Until everything committed so far is at the target. */
export async function arrive({ config }: LatePipeline): Promise<void> {
  const waited = await runCli(['wait', '-c', config, '--target', 'new', '--timeout', '120'], {}, 150_000);
  expect(waited, waited.stderr).toMatchObject({ code: 0 });
}

/** The number of the load that a target's table came with; 0 before there is one that is done. */
export async function loadOf({ target }: LatePipeline, topicEnd: string): Promise<number> {
  const { rows } = await target.client.query<{ load: number }>(
    'SELECT load FROM restage.table_load WHERE right(topic, length($1)) = $1 AND snapshot IS NOT NULL',
    [topicEnd],
  );
  return rows[0]?.load ?? 0;
}

/** Until a table has come with a later load than this one. */
export async function loadedAfter(pipeline: LatePipeline, topicEnd: string, before: number): Promise<void> {
  await until(async () => (await loadOf(pipeline, topicEnd)) > before, {
    what: `a load of ${topicEnd} after load ${before}`,
    timeoutMs: 110_000,
  });
}

export async function askSnapshot({ config }: LatePipeline, ...tables: readonly string[]): Promise<void> {
  const asked = await runCli(['snapshot', '-c', config, '--yes', ...tables.flatMap((table) => ['--table', table])]);
  expect(asked, asked.stderr).toMatchObject({ code: 0 });
}
