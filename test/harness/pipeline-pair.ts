import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createDatabase, type TestDatabase } from './database.ts';
import { testKafka } from './servers.ts';

export interface PairOptions {
  /** What the databases and the folder are called. */
  readonly name: string;
  readonly versions: readonly [15 | 18, 15 | 18];
  /** Of the target. */
  readonly schema: string;
  /** YAML: further keys of `source`, with commas between. */
  readonly source: string;
  /** Of each table's topic; absent is one. */
  readonly partitions?: number;
  /** YAML: further keys of the target, with commas before. */
  readonly sink?: string;
  /** YAML: further lines of the top level. */
  readonly more?: string;
  readonly prepare: (source: TestDatabase, target: TestDatabase) => Promise<unknown>;
}

export interface PipelinePair extends AsyncDisposable {
  readonly source: TestDatabase;
  readonly target: TestDatabase;
  readonly config: string;
}

/** A source, a target and a configuration between them; `await using` removes them. */
export async function openPair({ name, versions, prepare, ...options }: PairOptions): Promise<PipelinePair> {
  const source = await createDatabase(versions[0], `${name}_source`);
  const target = await createDatabase(versions[1], `${name}_target`);
  const folder = await mkdtemp(path.join(tmpdir(), `restage-${name}-`));
  const config = path.join(folder, 'restage.yaml');
  await prepare(source, target);
  await writeFile(
    config,
    `
name: ${source.name.replaceAll('_', '-')}
kafka: { brokers: ["${testKafka()}"], topics: { partitions: ${options.partitions ?? 1} } }
source: { postgres: { url: "${source.url}" }, ${options.source} }
${options.more ?? ''}
targets: [{ name: new, postgres: { url: "${target.url}" }, schema: ${options.schema}${options.sink ?? ''} }]
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
