import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { backoffMs, pause } from '#core/backoff.ts';
import { needsPerson, type ExitCode } from '#core/error-policy.ts';
import type { Logger } from '#core/log.ts';
import { WATCHED } from './parent-watch.ts';

const HEALTHY_MS = 30_000;

export interface ChildService {
  /** For people: `producer`, `sink new`. */
  readonly name: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Names of those without which it has nothing to do. */
  readonly needs?: readonly string[];
  /** Something outside is kept current by it: the others are there for such ones. Absent is true. */
  readonly isEnd?: boolean;
}

/** Keeps child processes alive until the signal. What needs one that stopped for a person is drained, and all once nothing is left to do. */
export class Supervisor {
  readonly #command: readonly string[];
  readonly #logger: Logger;
  readonly #writeLine: (line: string) => void;
  readonly #stops = new Map<string, AbortController>();
  #services: readonly ChildService[] = [];

  /** `command`: program and arguments before each child's own. */
  constructor(command: readonly string[], logger: Logger, writeLine: (line: string) => void) {
    this.#command = command;
    this.#logger = logger;
    this.#writeLine = writeLine;
  }

  /** 0 when all were drained by the signal or done by themselves, else the code of the one that failed. */
  async run(services: readonly ChildService[], signal: AbortSignal): Promise<ExitCode> {
    this.#services = services;
    for (const { name } of services) this.#stops.set(name, new AbortController());
    const codes = await Promise.all(
      services.map((service) => {
        const own = this.#stops.get(service.name)?.signal ?? signal;
        return this.#keepAlive(service, AbortSignal.any([signal, own]));
      }),
    );
    return codes.find((code) => code !== 0) ?? 0;
  }

  async #keepAlive(service: ChildService, signal: AbortSignal): Promise<ExitCode> {
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      const startedAt = Date.now();
      const end = await this.#runOnce(service, signal);
      if (end === 0) return 0;
      // Part of it had stopped for a person before, while the rest went on.
      if (signal.aborted) return needsPerson(end) ? end : 0;
      if (needsPerson(end)) {
        this.#giveUp(service);
        const going = this.#going().map(({ name }) => name);
        const rest = going.length === 0 ? 'stopping all' : `${going.join(', ')} go on`;
        this.#logger.error({ child: service.name, exitCode: end }, `${service.name} needs a person: ${rest}`);
        return end;
      }
      if (Date.now() - startedAt > HEALTHY_MS) attempt = 0;
      const waitMs = backoffMs(attempt + 3);
      this.#logger.warn({ child: service.name, end, waitMs }, `${service.name} ended (${end}): again in ${waitMs} ms`);
      await pause(waitMs, signal);
    }
    return 0;
  }

  #going(): ChildService[] {
    return this.#services.filter(({ name }) => this.#stops.get(name)?.signal.aborted === false);
  }

  /** Drains what can do nothing without it, and then what nobody is left for. */
  #giveUp(gone: ChildService): void {
    const stop = ({ name }: ChildService): void => this.#stops.get(name)?.abort();
    stop(gone);
    for (const service of this.#going()) if (service.needs?.includes(gone.name) === true) this.#giveUp(service);
    if (this.#going().every(({ isEnd = true }) => !isEnd)) for (const service of this.#going()) stop(service);
  }

  /** Exit code, or the name of the signal that ended it. */
  #runOnce(service: ChildService, signal: AbortSignal): Promise<number | string> {
    const [program = process.execPath, ...before] = this.#command;
    // A group of its own: Ctrl-C reaches the supervisor alone, which drains each child once.
    const child = spawn(program, [...before, ...service.args], {
      env: { ...service.env, ...WATCHED },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    this.#logger.info({ child: service.name, childPid: child.pid }, `${service.name} started`);
    this.#copyLines(service.name, child.stdout);
    this.#copyLines(service.name, child.stderr);
    const drain = (): void => {
      child.kill('SIGTERM');
    };
    signal.addEventListener('abort', drain, { once: true });
    return waitForEnd(child).finally(() => signal.removeEventListener('abort', drain));
  }

  #copyLines(name: string, stream: Readable): void {
    // A JSON line names its service itself and stays parseable.
    createInterface({ input: stream }).on('line', (line) =>
      this.#writeLine(line.startsWith('{') ? line : `${name} | ${line}`),
    );
  }
}

function waitForEnd(child: ChildProcess): Promise<number | string> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, killedBy) => resolve(code ?? killedBy ?? 1));
  });
}
