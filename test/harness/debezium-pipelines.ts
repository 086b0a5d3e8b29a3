import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Kafka, logLevel } from 'kafkajs';
import { Infrastructure } from '#infra/infrastructure.ts';
import { startCli, type CliProcess } from './cli.ts';
import { runCommand } from './command.ts';
import { startConnectWorker, type ConnectWorker } from './connect-worker.ts';
import { createDatabase, type TestDatabase } from './database.ts';
import { differingValues, type LeftOut } from './kept-values.ts';
import { testKafka } from './servers.ts';
import { until } from './until.ts';

const SETTLED_MS = 90_000;

/** A source that Debezium's connectors read, and sinks that read what they write; each pair by a name. `await using` ends all of it. */
export class DebeziumPipelines implements AsyncDisposable {
  readonly source: TestDatabase;
  readonly worker: ConnectWorker;
  readonly #infrastructure: Infrastructure;
  readonly #registry: string;
  readonly #dir: string;
  readonly #targetSql: string;
  readonly #targets = new Map<string, TestDatabase>();
  readonly #sinks = new Map<string, { readonly process: CliProcess; readonly debezium: string }>();
  #producer: CliProcess | null = null;

  private constructor(
    source: TestDatabase,
    worker: ConnectWorker,
    infrastructure: Infrastructure,
    registry: string,
    dir: string,
    targetSql: string,
  ) {
    this.source = source;
    this.worker = worker;
    this.#infrastructure = infrastructure;
    this.#registry = registry;
    this.#dir = dir;
    this.#targetSql = targetSql;
  }

  /** `targetSql` makes the tables of every target. */
  static async open(sourceSql: string, targetSql: string): Promise<DebeziumPipelines> {
    const source = await createDatabase(15, 'theirs');
    await source.client.query(sourceSql);
    const infrastructure = await Infrastructure.open({ say: () => undefined, durable: false });
    const dir = await mkdtemp(path.join(tmpdir(), 'restage-theirs-'));
    const [worker, { url }] = await Promise.all([startConnectWorker(), infrastructure.startRegistry()]);
    return new DebeziumPipelines(source, worker, infrastructure, url, dir, targetSql);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const processes = [...this.#sinks.values()].map(({ process }) => process);
    if (this.#producer !== null) processes.push(this.#producer);
    await Promise.all(processes.map((one) => one[Symbol.asyncDispose]()));
    await this.worker[Symbol.asyncDispose]();
    await Promise.all([this.#infrastructure.stop(), rm(this.#dir, { recursive: true })]);
    for (const target of this.#targets.values()) await target[Symbol.asyncDispose]();
    await this.source[Symbol.asyncDispose]();
  }

  /** kafka.registry.url of every sink. */
  get registry(): string {
    return this.#registry;
  }

  /** topic.prefix of the connector of this name. */
  prefix(name: string): string {
    return `${name}_${this.source.name}`;
  }

  fileOf(name: string): string {
    return path.join(this.#dir, `${name}.yaml`);
  }

  targetOf(name: string): TestDatabase {
    const target = this.#targets.get(name);
    if (target === undefined) throw new Error(`no target ${name}`);
    return target;
  }

  /** Starts a connector, until it streams. `life`: of its offsets; another one begins without any, under the same topics. */
  async addConnector(name: string, options: Readonly<Record<string, string>>, life = ''): Promise<void> {
    const connector = `${this.prefix(name)}${life}`;
    const url = new URL(this.source.url);
    await this.worker.add(connector, {
      'connector.class': 'io.debezium.connector.postgresql.PostgresConnector',
      'plugin.name': 'pgoutput',
      'database.hostname': url.hostname,
      'database.port': url.port,
      'database.user': decodeURIComponent(url.username),
      'database.password': decodeURIComponent(url.password),
      'database.dbname': this.source.name,
      'topic.prefix': this.prefix(name),
      'slot.name': connector,
      'publication.name': connector,
      'schema.include.list': 'public',
      'publication.autocreate.mode': 'filtered',
      'topic.creation.default.replication.factor': '1',
      'topic.creation.default.partitions': '1',
      'poll.interval.ms': '50',
      ...options,
    });
    const streams = async (): Promise<string | boolean> => {
      const failed = await this.worker.failure(connector);
      if (failed !== null) return failed;
      // A slot is active while it is made, too.
      const { rows } = await this.source.client.query(
        `SELECT FROM pg_replication_slots s JOIN pg_stat_replication r ON r.pid = s.active_pid AND r.state = 'streaming' WHERE slot_name = $1`,
        [connector],
      );
      return rows.length === 1;
    };
    const state = await until(streams, { what: `connector ${name} to stream`, timeoutMs: 120_000 });
    if (state !== true) throw new Error(state);
    if (options['snapshot.mode'] === 'no_data') return;
    // What the snapshot found may still be on its way.
    await until(async () => (await listTopics()).some((topic) => topic.startsWith(`${this.prefix(name)}.`)), {
      what: `topics of connector ${name}`,
      timeoutMs: 120_000,
    });
  }

  /** A producer that writes Avro in profile `debezium`, under the prefix of this name. */
  async startProducer(name: string): Promise<void> {
    const file = path.join(this.#dir, `${name}-producer.yaml`);
    await writeFile(
      file,
      `name: ${this.prefix(name)}
kafka: { brokers: ["${testKafka()}"], registry: { url: "${this.#registry}" } }
source: { profile: debezium, postgres: { url: "${this.source.url}" }, tables: ["public.*"] }
debezium: { format: avro, provide.transaction.metadata: true, skipped.operations: none }
`,
    );
    this.#producer = startCli(['producer', '-c', file]);
    const slot = `restage_${this.prefix(name)}`;
    const sql = 'SELECT FROM pg_replication_slots WHERE active AND slot_name = $1';
    await until(async () => (await this.source.client.query(sql, [slot])).rowCount === 1, {
      what: 'the producer to stream',
    });
  }

  /** `debezium`: the lines of source.debezium. A sink of this name that runs already is the caller's to end. */
  async startSink(
    name: string,
    debezium: string,
    env: NodeJS.ProcessEnv = {},
    command: readonly string[] = ['sink', '--target', 'new'],
  ): Promise<CliProcess> {
    if (!this.#targets.has(name)) {
      const made = await createDatabase(15, 'ours');
      this.#targets.set(name, made);
      await made.client.query(this.#targetSql);
    }
    await writeFile(
      this.fileOf(name),
      `name: ${this.prefix(name)}_sink
kafka: { brokers: ["${testKafka()}"], registry: { url: "${this.#registry}" } }
source:
  debezium:
${debezium
  .split('\n')
  .map((line) => `    ${line.trim()}\n`)
  .join('')}targets:
  - { name: new, postgres: { url: "${this.targetOf(name).url}" } }
`,
    );
    const process = startCli([...command, '-c', this.fileOf(name)], env);
    this.#sinks.set(name, { process, debezium });
    return process;
  }

  /** Ends the sink of this name as `restage` is drained. */
  async drainSink(name: string): Promise<void> {
    await this.#sinks.get(name)?.process.drain();
  }

  /** In the running sink's place one that kills itself when it applies the change, then one that goes on. Returns what ended it. */
  async restartKilled(name: string, failpoint: string, change: () => Promise<unknown>): Promise<NodeJS.Signals | null> {
    const running = this.#sinks.get(name);
    if (running === undefined) throw new Error(`no sink ${name}`);
    running.process.kill('SIGKILL');
    await running.process.result();
    const killed = await this.startSink(name, running.debezium, { RESTAGE_FAILPOINTS: failpoint });
    await change();
    const { signal } = await killed.result(SETTLED_MS);
    await this.startSink(name, running.debezium);
    return signal;
  }

  /** Waits until the target is equal to the source; what differs at the end, and why as far as is known, comes back. */
  async differences(name: string, tables: readonly string[], leftOut: LeftOut): Promise<string[]> {
    const { source } = this;
    let last: string[] = [];
    const isEqual = async (): Promise<boolean> => {
      if (this.#sinks.get(name)?.process.hasEnded() === true) return true;
      last = await differingValues(source.client, this.targetOf(name).client, tables, leftOut);
      return last.length === 0;
    };
    await until(isEqual, { what: `target ${name} to be equal`, timeoutMs: SETTLED_MS }).catch(() => undefined);
    const sink = this.#sinks.get(name)?.process;
    if (last.length === 0 && sink?.hasEnded() !== true) return [];
    const said = [sink?.stderr().slice(-2_000) ?? '', this.#producer?.stderr().slice(-1_000) ?? ''];
    const wait = await runCommand(['wait', '-c', this.fileOf(name), '--target', 'new', '--timeout', '1']);
    said.push(wait.text, (await this.worker.failure(this.prefix(name))) ?? 'the connector runs');
    return [...last.slice(0, 12), ...said];
  }
}

async function listTopics(): Promise<string[]> {
  const admin = new Kafka({ brokers: [testKafka()], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    return await admin.listTopics();
  } finally {
    await admin.disconnect();
  }
}
