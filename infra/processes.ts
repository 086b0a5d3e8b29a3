import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RestageError } from '#core/errors.ts';
import { identifyProcess, isRunning, type ProcessIdentity } from '#infra/process-identity.ts';
import type { SystemUser } from '#infra/system-user.ts';

export interface LaunchOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Whom it runs as; null: as this process does. */
  readonly user: SystemUser | null;
  /** Takes standard output and error. */
  readonly logFile: string;
  /** Ends it in good order. */
  readonly stopSignal: NodeJS.Signals;
  /** Ends it at once, without children left behind. */
  readonly killSignal: NodeJS.Signals;
  /** Removed once it has ended; null: stays. */
  readonly temporaryDir: string | null;
  /** Goes on when this process ends. */
  readonly outlivesUs: boolean;
}

export interface ServerProcess {
  /** Another one after a restart. */
  readonly identity: ProcessIdentity;
  readonly logFile: string;
  isRunning(): boolean;
  stop(): Promise<void>;
  /** In good order, or (`crash`) at once; then it starts over the same data. Resolves when it was started, not when it is ready. */
  restart(how: 'stop' | 'crash'): Promise<void>;
}

/** One file per running server, so that a later start finds what a killed one left. */
interface ServerRecord {
  readonly name: string;
  readonly server: ProcessIdentity;
  readonly owner: ProcessIdentity | null;
  readonly stopSignal: NodeJS.Signals;
  readonly killSignal: NodeJS.Signals;
  readonly temporaryDir: string | null;
}

const STOP_TIMEOUT_MS = 15_000;
const POLL_MS = 20;

/**
 * Starts server processes and sees to it that none outlives its owner: they are stopped on request, killed when this
 * process exits, and killed by the next `cleanUp` when this process was killed itself.
 */
export class ServerProcesses {
  readonly #folder: string;
  readonly #records = new Map<string, ServerRecord>();

  /** `folder` holds the records; the same one for every run in a checkout. */
  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
    process.on('exit', () => this.#killAll());
  }

  /** Ends servers whose owner is gone. Gives their names. */
  async cleanUp(): Promise<string[]> {
    const ended: string[] = [];
    for (const file of readdirSync(this.#folder)) {
      const path = join(this.#folder, file);
      const record = readRecord(path);
      if (record === null || (record.owner !== null && isRunning(record.owner))) continue;
      if (record.owner === null && isRunning(record.server)) continue;
      if (isRunning(record.server)) ended.push(record.name);
      await endServer(record);
      discard(path, record);
    }
    return ended;
  }

  launch(options: LaunchOptions): ServerProcess {
    let { path, record } = this.#spawn(options);
    return {
      get identity() {
        return record.server;
      },
      logFile: options.logFile,
      isRunning: () => isRunning(record.server),
      stop: async () => {
        await endServer(record);
        discard(path, record);
        this.#records.delete(path);
      },
      restart: async (how) => {
        await endServer(how === 'stop' ? record : { ...record, stopSignal: record.killSignal });
        rmSync(path, { force: true });
        this.#records.delete(path);
        ({ path, record } = this.#spawn(options));
      },
    };
  }

  #spawn(options: LaunchOptions): { readonly path: string; readonly record: ServerRecord } {
    mkdirSync(dirname(options.logFile), { recursive: true });
    const log = openSync(options.logFile, 'a');
    // A group of its own: Ctrl-C reaches us alone, and we stop the servers after those who use them.
    const child = spawn(options.command, options.args, {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: '/',
      env: options.env ?? process.env,
      ...(options.user === null ? {} : { uid: options.user.uid, gid: options.user.gid }),
    });
    closeSync(log);
    child.on('error', () => undefined);
    child.unref();
    const server = child.pid === undefined ? null : identifyProcess(child.pid);
    if (server === null) {
      throw new RestageError('component_missing', `${options.name} did not start`, {
        where: options.command,
        fix: readTail(options.logFile),
      });
    }
    const record: ServerRecord = {
      name: options.name,
      server,
      owner: options.outlivesUs ? null : identifyProcess(process.pid),
      stopSignal: options.stopSignal,
      killSignal: options.killSignal,
      temporaryDir: options.temporaryDir,
    };
    const path = join(this.#folder, `${server.pid}.json`);
    writeFileSync(path, JSON.stringify(record));
    if (!options.outlivesUs) this.#records.set(path, record);
    return { path, record };
  }

  /** Stops a server of an earlier process by its identity, `dev down`'s part. false: it was not running. */
  async stop(identity: ProcessIdentity): Promise<boolean> {
    const path = join(this.#folder, `${identity.pid}.json`);
    const record = readRecord(path);
    if (record === null || record.server.started !== identity.started) return false;
    const wasRunning = isRunning(identity);
    await endServer(record);
    discard(path, record);
    return wasRunning;
  }

  async stopAll(): Promise<void> {
    for (const [path, record] of [...this.#records].toReversed()) {
      await endServer(record);
      discard(path, record);
      this.#records.delete(path);
    }
  }

  /** At exit nothing may be awaited: kill, wait a moment on this thread, remove. */
  #killAll(): void {
    for (const record of this.#records.values()) signal(record, record.killSignal);
    const deadline = Date.now() + 3_000;
    const isAnyRunning = (): boolean => [...this.#records.values()].some((record) => isRunning(record.server));
    while (isAnyRunning() && Date.now() < deadline) block(POLL_MS);
    for (const [path, record] of this.#records) {
      if (isRunning(record.server)) signal(record, 'SIGKILL');
      discard(path, record);
    }
  }
}

/** Turns Ctrl-C, SIGTERM and a closed terminal into an exit, at which servers are ended. For programs without a drain of their own. */
export function exitOnSignals(): void {
  for (const [name, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ] as const) {
    process.once(name, () => process.exit(128 + number));
  }
}

/** The last lines of a server's log, for messages. */
export function readTail(logFile: string, lines = 8): string {
  try {
    return readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return 'it left no log';
  }
}

async function endServer(record: ServerRecord): Promise<void> {
  signal(record, record.stopSignal);
  const deadline = Date.now() + STOP_TIMEOUT_MS;
  let isKilled = false;
  while (isRunning(record.server)) {
    if (Date.now() > deadline && !isKilled) {
      signal(record, 'SIGKILL');
      isKilled = true;
    }
    await sleep(POLL_MS);
  }
}

function signal(record: ServerRecord, name: NodeJS.Signals): void {
  if (!isRunning(record.server)) return;
  try {
    process.kill(record.server.pid, name);
  } catch {
    // It ended between the two calls.
  }
}

function discard(path: string, record: ServerRecord): void {
  const dir = record.temporaryDir;
  try {
    if (dir !== null) rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  } catch {
    return; // The record stays, and the next start removes the folder.
  }
  rmSync(path, { force: true });
  if (dir === null) return;
  try {
    rmdirSync(dirname(dir));
  } catch {
    // Another server of the same run is still in it.
  }
}

function readRecord(path: string): ServerRecord | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ServerRecord;
  } catch {
    return null;
  }
}

function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
