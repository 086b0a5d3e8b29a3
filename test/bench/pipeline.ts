import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type pg from 'pg';
import { pino } from 'pino';
import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { parseLsn } from '#core/lsn.ts';
import { runCli, startCli, type CliProcess } from '../harness/cli.ts';
import { until } from '../harness/until.ts';
import { connect, query, type BenchServers, type DatabasePair } from './bench-servers.ts';

export type Stage = 'producer' | 'transformer' | 'sink';

export interface PipelineOptions {
  /** A rule or several for the output's transformer, as YAML; null: the sink reads the raw topics. */
  readonly rule: string | null;
  /** Where services write their profiles when they end; null: they write none. */
  readonly profiles: string | null;
  /** Of the sink, and partitions of the topics; absent or 0: whole transactions, and one. */
  readonly lanes?: number;
  /** Processes that share the lanes. Default 1. */
  readonly sinks?: number;
  /** Further lines of the configuration. */
  readonly more?: string;
}

/** How long any step of a benchmark may take. */
const STEP_MS = 1_800_000;
const POLL_MS = 100;

/** One pipeline between a pair of databases, its services started one by one as processes. `await using` ends them. */
export class BenchPipeline implements AsyncDisposable {
  readonly stages: readonly Stage[];
  readonly file: string;
  readonly #dir: string;
  readonly pair: DatabasePair;
  readonly #options: PipelineOptions;
  /** By stage; further processes of one have its name and a number. */
  readonly #running = new Map<string, CliProcess>();
  readonly #readers: Readonly<Record<'producer' | 'transformer', EpochReader>>;
  readonly #close: () => Promise<void>;
  #asking: Promise<pg.Client> | null = null;

  private constructor(dir: string, servers: BenchServers, pair: DatabasePair, options: PipelineOptions) {
    this.#dir = dir;
    this.file = path.join(dir, 'restage.yaml');
    this.pair = pair;
    this.#options = options;
    this.stages = options.rule === null ? ['producer', 'sink'] : ['producer', 'transformer', 'sink'];
    const logger = pino({ level: 'silent' });
    const kafka = { brokers: [servers.brokers], ssl: false, sasl: null, replicationFactor: 1 };
    const pool = createConnectionPool(kafka, { clientId: 'bench', logger });
    const { raw, shaped } = this.prefixes;
    this.#readers = {
      producer: createKafkaEpochReader({ pool, prefix: raw, logger }),
      transformer: createKafkaEpochReader({ pool, prefix: shaped, logger }),
    };
    this.#close = () => pool.close();
  }

  static async open(servers: BenchServers, pair: DatabasePair, options: PipelineOptions): Promise<BenchPipeline> {
    const dir = await mkdtemp(path.join(tmpdir(), 'restage-bench-'));
    const pipeline = new BenchPipeline(dir, servers, pair, options);
    const transform = `transform: { outputs: [{ name: main, version: 1, rules: [${options.rule}] }] }`;
    const { lanes = 0 } = options;
    const topics = lanes === 0 ? '' : `, topics: { partitions: ${lanes} }`;
    const ordering = lanes === 0 ? '' : ', ordering: key';
    await writeFile(
      pipeline.file,
      `name: ${nameOf(pair)}
kafka: { brokers: ["${servers.brokers}"]${topics} }
source: { postgres: { url: "${pair.source}" } }
${options.rule === null ? '' : transform}
targets: [{ name: new, postgres: { url: "${pair.target}" }, schema: create${ordering} }]
${options.more ?? ''}
`,
    );
    return pipeline;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#running.values()].map((one) => one[Symbol.asyncDispose]()));
    await this.#close();
    await (await this.#asking)?.end();
    await rm(this.#dir, { recursive: true, force: true });
  }

  /** What the names of the producer's topics, and of the transformer's, begin with. */
  get prefixes(): { readonly raw: string; readonly shaped: string } {
    const raw = nameOf(this.pair);
    return { raw, shaped: `${raw}.shaped.main.v1` };
  }

  /** Process numbers of the services that run. */
  get pids(): ReadonlyMap<string, number> {
    return new Map([...this.#running].map(([stage, { pid }]) => [stage, pid]));
  }

  start(...stages: readonly Stage[]): void {
    const { profiles, lanes = 0, sinks = 1 } = this.#options;
    const share = lanes === 0 ? [] : ['--lanes', String(Math.ceil(lanes / sinks))];
    for (const name of stages.flatMap((stage) => namesOf(stage, stage === 'sink' ? sinks : 1))) {
      const [stage = name] = name.split(' ');
      const target = stage === 'sink' ? ['--target', 'new', ...share] : [];
      const node =
        profiles === null
          ? []
          : [
              '--cpu-prof',
              `--cpu-prof-dir=${profiles}`,
              `--cpu-prof-name=${name.replace(' ', '-')}-${Date.now()}.cpuprofile`,
            ];
      const args = [stage, '-c', this.file, ...target];
      this.#running.set(name, startCli(args, { RESTAGE_LOG: 'warn' }, node));
    }
  }

  /** A drain of each. */
  async stop(...stages: readonly Stage[]): Promise<void> {
    const names = [...this.#running.keys()].filter((name) => stages.some((stage) => name.split(' ')[0] === stage));
    for (const name of names) {
      const ended = await this.#running.get(name)?.drain(STEP_MS);
      this.#running.delete(name);
      if (ended !== undefined && ended.code !== 0) throw new Error(`${name} ended with ${ended.code}: ${ended.stderr}`);
    }
  }

  /** Until a service has passed an LSN of the source. Fails at once where one of those that run has ended. */
  async reach(stage: Stage, lsn: string): Promise<void> {
    const wanted = parseLsn(lsn);
    await this.#until(`${stage} to pass ${lsn}`, async () => {
      if (stage !== 'sink') {
        const last = await this.#readers[stage].last();
        return last !== null && parseLsn(last.manifest.through) >= wanted;
      }
      const known = await this.#askTarget<{ there: boolean }>(
        `SELECT to_regclass('restage.checkpoint') IS NOT NULL AS there`,
      );
      if (known[0]?.there !== true) return false;
      const sql = `SELECT FROM restage.checkpoint WHERE load_done AND through >= '${lsn}'::pg_lsn`;
      return (await this.#askTarget(sql)).length === 1;
    });
  }

  /** Until the producer, or the transformer, has written the load's end. */
  async reachEnd(stage: 'producer' | 'transformer'): Promise<void> {
    await this.#until(`${stage} to end the load`, async () => {
      const last = await this.#readers[stage].last();
      return last?.manifest.loaded === true;
    });
  }

  /** Removes what the pipeline has in Kafka and in the databases. */
  async teardown(): Promise<void> {
    const { code, stderr } = await runCli(['teardown', '-c', this.file, '--yes'], { RESTAGE_LOG: 'warn' }, STEP_MS);
    if (code !== 0) throw new Error(`teardown ended with ${code}: ${stderr}`);
  }

  async #askTarget<T extends object>(sql: string): Promise<T[]> {
    this.#asking ??= connect(this.pair.target);
    return (await (await this.#asking).query<T>(sql)).rows;
  }

  async #until(what: string, isReached: () => Promise<boolean>): Promise<void> {
    const ended = (): CliProcess | undefined => [...this.#running.values()].find((one) => one.hasEnded());
    await until(async () => ended() !== undefined || (await isReached()), {
      what,
      timeoutMs: STEP_MS,
      everyMs: POLL_MS,
    });
    const failed = ended();
    if (failed !== undefined) throw new Error(`a service ended while waiting for ${what}: ${failed.stderr()}`);
  }
}

/** The source's position now: everything committed so far is before it. */
export async function currentLsn(url: string): Promise<string> {
  const [row] = await query<{ lsn: string }>(
    url,
    `SELECT pg_logical_emit_message(true, 'restage', 'bench')::text AS lsn`,
  );
  return row?.lsn ?? '';
}

function namesOf(stage: Stage, count: number): string[] {
  return Array.from({ length: count }, (_, index) => (index === 0 ? stage : `${stage} ${index + 1}`));
}

function nameOf(pair: DatabasePair): string {
  return pair.name.replaceAll('_', '-');
}
