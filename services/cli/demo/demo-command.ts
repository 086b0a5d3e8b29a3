import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import pg from 'pg';
import { pause } from '#core/backoff.ts';
import type { ExitCode } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import { freePort } from '#infra/free-port.ts';
import { sayDashboard } from './dashboard-address.ts';
import { WATCHED } from '../parent-watch.ts';
import { formatTableText, type DemoResult } from './report.ts';
import { startDemoServers, type DemoServers } from './demo-servers.ts';
import { prove } from './proof.ts';
import { sabotageTarget, type Sabotage } from './sabotage.ts';
import type { ShopSize } from './sample-shop.ts';
import { readProgress } from './target-progress.ts';
import { writeShop, type WriterResult } from './writer.ts';

export interface DemoOptions {
  readonly json: boolean;
  readonly signal: AbortSignal;
  /** How to start this program again. */
  readonly self: readonly string[];
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly size: ShopSize;
  /** Seconds of streaming after the load, while the writer goes on. */
  readonly streamSeconds: number;
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
  const startedAt = Date.now();
  const say = (line: string): void =>
    options.err(`[${((Date.now() - startedAt) / 1000).toFixed(1).padStart(5)} s] ${line}\n`);
  const servers = await startDemoServers(options.size, say);
  const children: ChildProcess[] = [];
  try {
    const result = await migrate(options, servers, children, say);
    options.out(options.json ? `${JSON.stringify(result)}\n` : formatTableText(result));
    return result.proof.isEqual ? 0 : 1;
  } finally {
    for (const child of children) await stopChild(child);
    await servers.stop();
    say('every server is stopped');
  }
}

async function migrate(
  options: DemoOptions,
  servers: DemoServers,
  children: ChildProcess[],
  say: (line: string) => void,
): Promise<DemoResult> {
  const stopWriters = new AbortController();
  const writers = await startWriters(servers.sourceUrl, AbortSignal.any([stopWriters.signal, options.signal]));
  say(`the source holds ${servers.rows.toLocaleString('en')} rows; ${WRITERS} writers keep committing to it`);
  const port = await freePort();
  const run = start(options, ['run', '-c', servers.configFile], {
    RESTAGE_LOG: 'warn',
    RESTAGE_HTTP_HOST: '127.0.0.1',
    RESTAGE_HTTP_PORT: String(port),
  });
  children.push(run);
  const startedAt = Date.now();
  const loaded = new AbortController();
  const dashboard = sayDashboard(port, say, AbortSignal.any([loaded.signal, options.signal]));
  await followLoad(options, servers, run, say).finally(() => loaded.abort());
  await dashboard;
  const loadSeconds = (Date.now() - startedAt) / 1000;
  say(`copied in ${loadSeconds.toFixed(1)} s; following the stream for ${options.streamSeconds} s`);
  await pause(options.streamSeconds * 1000, options.signal);
  stopWriters.abort();
  const written = sum(await writers.finished);
  say(
    `the writers stop after ${written.transactions.toLocaleString('en')} transactions; waiting for the last one to arrive`,
  );
  const drainAt = Date.now();
  await command(
    options,
    ['wait', '-c', servers.configFile, '--target', 'new', '--lsn', 'current', '--timeout', WAIT_SECONDS],
    children,
  );
  const drainSeconds = (Date.now() - drainAt) / 1000;
  await command(options, ['sequences', '-c', servers.configFile, '--target', 'new'], children);
  await stopChild(run);
  if (options.sabotage !== null) await sabotageTarget(servers.targetUrl, options.sabotage);
  say('comparing source and target …');
  const proof = await prove(servers.sourceUrl, servers.targetUrl, TABLES);
  return { rows: servers.rows, loadSeconds, ...written, drainSeconds, proof };
}

async function startWriters(url: string, signal: AbortSignal): Promise<{ readonly finished: Promise<WriterResult[]> }> {
  const clients = Array.from({ length: WRITERS }, () => new pg.Client({ connectionString: url }));
  await Promise.all(clients.map((client) => client.connect()));
  const running = clients.map(async (client, index) => {
    try {
      return await writeShop(client, signal, index);
    } finally {
      await client.end();
    }
  });
  const finished = Promise.all(running);
  // Awaited later; until then a failure must not count as unhandled.
  finished.catch(() => undefined);
  return { finished };
}

function sum(results: readonly WriterResult[]): WriterResult {
  return {
    transactions: results.reduce((total, result) => total + result.transactions, 0),
    changes: results.reduce((total, result) => total + result.changes, 0),
  };
}

async function followLoad(
  options: DemoOptions,
  servers: DemoServers,
  run: ChildProcess,
  say: (line: string) => void,
): Promise<void> {
  const client = new pg.Client({ connectionString: servers.targetUrl });
  await client.connect();
  try {
    const startedAt = Date.now();
    for (let loaded = -1; ;) {
      const progress = await readProgress(client);
      if (progress.isLoadDone) return;
      const seconds = (Date.now() - startedAt) / 1000;
      if (progress.rowsLoaded !== loaded) say(loadLine(progress.rowsLoaded, servers.rows, seconds));
      loaded = progress.rowsLoaded;
      if (run.exitCode !== null || options.signal.aborted || seconds > LOAD_LIMIT_SECONDS) {
        throw new RestageError('transient', 'the load did not end', {
          where: servers.configFile,
          fix: 'read the messages above',
        });
      }
      await pause(1_000, options.signal);
    }
  } finally {
    await client.end();
  }
}

function loadLine(loaded: number, total: number, seconds: number): string {
  const rate = loaded / Math.max(seconds, 0.1);
  const left = rate === 0 ? '' : `, about ${Math.max(0, Math.ceil((total - loaded) / rate))} s left`;
  return `loaded ${loaded.toLocaleString('en')} of about ${total.toLocaleString('en')} rows (${Math.round(rate).toLocaleString('en')} rows/s${left})`;
}

/** @throws RestageError when the command answers no. */
async function command(options: DemoOptions, args: readonly string[], children: ChildProcess[]): Promise<void> {
  const child = start(options, args, { RESTAGE_LOG: 'warn' });
  children.push(child);
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new RestageError('transient', `restage ${args[0] ?? ''} answered ${code ?? 'nothing'}`);
}

function start(options: DemoOptions, args: readonly string[], env: Readonly<Record<string, string>>): ChildProcess {
  const [node = process.execPath, ...rest] = options.self;
  // A group of its own: a Ctrl-C at the terminal is this program's to pass on.
  return spawn(node, [...rest, ...args], {
    stdio: ['pipe', 'ignore', 'inherit'],
    detached: true,
    env: { ...process.env, ...env, ...WATCHED },
  });
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}
