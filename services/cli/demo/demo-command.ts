import type { ChildProcess } from 'node:child_process';
import pg from 'pg';
import { pause } from '#core/backoff.ts';
import type { ExitCode } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import { freePort } from '#infra/free-port.ts';
import { sayDashboard } from './dashboard-address.ts';
import { DemoProcesses } from './demo-processes.ts';
import { startDemoServers, type DemoServers } from './demo-servers.ts';
import { showSwitch, type DemoSwitch } from './demo-switch.ts';
import { countLost, prove } from './proof.ts';
import { formatTableText, type DemoResult } from './report.ts';
import { sabotageTarget, type Sabotage } from './sabotage.ts';
import type { ShopSize } from './sample-shop.ts';
import { readProgress } from './target-progress.ts';
import { Timeline } from './timeline.ts';
import { addWriters, writeShop, type WriterResult } from './writer.ts';

export interface DemoOptions {
  readonly json: boolean;
  readonly signal: AbortSignal;
  /** How to start this program again. */
  readonly self: readonly string[];
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly size: ShopSize;
  /** Seconds of streaming after the load, and of writes on the new side. */
  readonly streamSeconds: number;
  /** Null: the whole; else the load and the stream alone, spoilt before the proof. */
  readonly sabotage: Sabotage | null;
}

const WRITERS = 2;
const LOAD_LIMIT_SECONDS = 240;
const WAIT_SECONDS = '120';

const TABLES = [
  { source: 'customers', target: 'customers', renamed: {} },
  { source: 'orders', target: 'orders', renamed: {} },
  { source: 'order_lines', target: 'order_lines', renamed: {} },
  { source: 'payments', target: 'receipts', renamed: { paid_on: 'settled_on' } },
  { source: 'activity', target: 'activity', renamed: {} },
];

/** The main job on embedded servers: 0 only when source and target are proven equal, 1 when they are not. */
export async function runDemo(options: DemoOptions): Promise<ExitCode> {
  const timeline = new Timeline();
  const say = (line: string): void => options.err(`[${timeline.now().toFixed(1).padStart(5)} s] ${line}\n`);
  const servers = await timeline.note(
    () => startDemoServers(options.size, say),
    ({ rows }) => `Kafka, two PostgreSQL servers, and a source of ${rows.toLocaleString('en')} rows`,
  );
  try {
    await using processes = new DemoProcesses(options.self, servers.configFile, say, options.signal);
    const result = await new Demo(options, servers, processes, timeline, say).migrate();
    options.out(options.json ? `${JSON.stringify(result)}\n` : formatTableText(result));
    return result.isProven ? 0 : 1;
  } finally {
    await servers.stop();
    say('every server is stopped');
  }
}

class Demo {
  readonly #options: DemoOptions;
  readonly #servers: DemoServers;
  readonly #processes: DemoProcesses;
  readonly #timeline: Timeline;
  readonly #say: (line: string) => void;
  readonly #stopWriters = new AbortController();

  constructor(
    options: DemoOptions,
    servers: DemoServers,
    processes: DemoProcesses,
    timeline: Timeline,
    say: (line: string) => void,
  ) {
    this.#options = options;
    this.#servers = servers;
    this.#processes = processes;
    this.#timeline = timeline;
    this.#say = say;
  }

  async migrate(): Promise<DemoResult> {
    const writing = this.#startWriters();
    try {
      return await this.#migrateUnder(writing);
    } finally {
      this.#stopWriters.abort();
      await writing.catch(() => undefined);
    }
  }

  async #migrateUnder(writing: Promise<WriterResult>): Promise<DemoResult> {
    const { sabotage, streamSeconds, signal } = this.#options;
    const startedAt = this.#timeline.now();
    const run = await this.#timeline.note(
      () => this.#load(),
      () => 'copied live, while the application wrote to the source',
    );
    const loadSeconds = this.#timeline.now() - startedAt;
    this.#say(`copied in ${loadSeconds.toFixed(1)} s; following the stream for ${streamSeconds} s`);
    await pause(streamSeconds * 1000, signal);
    const switches = sabotage === null ? await this.#switch() : [];
    this.#stopWriters.abort();
    const written = await writing;
    this.#say(
      `the writers stop after ${written.transactions.toLocaleString('en')} transactions; waiting for the last one to arrive`,
    );
    const drainAt = this.#timeline.now();
    await this.#processes.ask('wait', '--target', 'new', '--lsn', 'current', '--timeout', WAIT_SECONDS);
    const drainSeconds = this.#timeline.now() - drainAt;
    await this.#processes.ask('sequences', '--target', 'new');
    await this.#processes.stop(run);
    if (sabotage !== null) await sabotageTarget(this.#servers.targetUrl, sabotage);
    return this.#prove({ loadSeconds, drainSeconds, switches }, written);
  }

  async #prove(
    done: Pick<DemoResult, 'loadSeconds' | 'drainSeconds' | 'switches'>,
    { transactions, changes, acknowledged, gapsMs }: WriterResult,
  ): Promise<DemoResult> {
    const { sourceUrl, targetUrl, rows } = this.#servers;
    this.#say('comparing source and target …');
    const proof = await this.#timeline.note(
      () => prove(sourceUrl, targetUrl, TABLES),
      ({ isEqual }) => `proof by sessions of its own: ${isEqual ? 'equal' : 'DIFFERENT'}`,
    );
    const lost = {
      source: await countLost(sourceUrl, acknowledged),
      target: await countLost(targetUrl, acknowledged),
    };
    const isProven = proof.isEqual && lost.source === 0 && lost.target === 0;
    const timeline = this.#timeline.milestones;
    return { rows, ...done, transactions, changes, gapsMs, lost, timeline, proof, isProven };
  }

  #switch(): Promise<readonly DemoSwitch[]> {
    return showSwitch({
      processes: this.#processes,
      timeline: this.#timeline,
      say: this.#say,
      seconds: this.#options.streamSeconds,
      targetUrl: this.#servers.targetUrl,
      signal: this.#options.signal,
    });
  }

  #startWriters(): Promise<WriterResult> {
    const { sourceUrl, targetUrl, liveFile, rows } = this.#servers;
    const places = {
      sides: {
        source: { url: sourceUrl, payments: 'payments' },
        target: { url: targetUrl, payments: 'receipts' },
      },
      liveFile,
    };
    const signal = AbortSignal.any([this.#stopWriters.signal, this.#options.signal]);
    this.#say(`the source holds ${rows.toLocaleString('en')} rows; ${WRITERS} writers keep committing to it`);
    const finished = Promise.all(Array.from({ length: WRITERS }, (_, seed) => writeShop(places, signal, seed))).then(
      addWriters,
    );
    // Awaited later; until then a failure must not count as unhandled.
    finished.catch(() => undefined);
    return finished;
  }

  /** The services, which go on, once the load is done. */
  async #load(): Promise<ChildProcess> {
    const port = await freePort();
    const run = this.#processes.start(['run'], {
      RESTAGE_HTTP_HOST: '127.0.0.1',
      RESTAGE_HTTP_PORT: String(port),
    });
    const loaded = new AbortController();
    const dashboard = sayDashboard(port, this.#say, AbortSignal.any([loaded.signal, this.#options.signal]));
    await this.#followLoad(run).finally(() => loaded.abort());
    await dashboard;
    return run;
  }

  async #followLoad(run: ChildProcess): Promise<void> {
    const { targetUrl, rows, configFile } = this.#servers;
    const { signal } = this.#options;
    const client = new pg.Client({ connectionString: targetUrl });
    await client.connect();
    try {
      const startedAt = this.#timeline.now();
      for (let loaded = -1; ; await pause(1_000, signal)) {
        const progress = await readProgress(client);
        if (progress.isLoadDone) return;
        const seconds = this.#timeline.now() - startedAt;
        if (progress.rowsLoaded !== loaded) this.#say(loadLine(progress.rowsLoaded, rows, seconds));
        loaded = progress.rowsLoaded;
        if (run.exitCode === null && !signal.aborted && seconds <= LOAD_LIMIT_SECONDS) continue;
        throw new RestageError('transient', 'the load did not end', {
          where: configFile,
          fix: 'read the messages above',
        });
      }
    } finally {
      await client.end();
    }
  }
}

function loadLine(loaded: number, total: number, seconds: number): string {
  const rate = loaded / Math.max(seconds, 0.1);
  const left = rate === 0 ? '' : `, about ${Math.max(0, Math.ceil((total - loaded) / rate))} s left`;
  return `loaded ${loaded.toLocaleString('en')} of about ${total.toLocaleString('en')} rows (${Math.round(rate).toLocaleString('en')} rows/s${left})`;
}
