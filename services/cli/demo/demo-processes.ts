import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { RestageError } from '#core/errors.ts';
import { WATCHED } from '../parent-watch.ts';

/** Restage's own commands, each a process of its own as on a real machine. What still runs is stopped at the end. */
export class DemoProcesses implements AsyncDisposable {
  readonly #self: readonly string[];
  readonly #configFile: string;
  readonly #say: (line: string) => void;
  readonly #running = new Set<ChildProcess>();

  /** Once `signal` aborts all of them are asked to stop. */
  constructor(self: readonly string[], configFile: string, say: (line: string) => void, signal: AbortSignal) {
    signal.addEventListener('abort', () => this.#running.forEach((child) => child.kill('SIGTERM')), { once: true });
    this.#self = self;
    this.#configFile = configFile;
    this.#say = say;
  }

  /** A service, until it is stopped. */
  start(args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
    return this.#spawn(args, env, 'ignore', 'inherit');
  }

  /** A command to its end; its own lines are said as it writes them. @throws RestageError when it answers no. */
  async ask(...args: readonly string[]): Promise<string> {
    const child = this.#spawn(args, {}, 'pipe', 'pipe');
    let output = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (output += text));
    if (child.stderr !== null)
      createInterface({ input: child.stderr }).on('line', (line) => this.#say(`  ${line.trimEnd()}`));
    const [code] = (await once(child, 'close')) as [number | null];
    if (code === 0) return output;
    throw new RestageError('transient', `restage ${args[0] ?? ''} answered ${code ?? 'nothing'}`, {
      where: this.#configFile,
      fix: 'read the messages above',
    });
  }

  async stop(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#running) await this.stop(child);
  }

  #spawn(
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    out: 'ignore' | 'pipe',
    err: 'inherit' | 'pipe',
  ): ChildProcess {
    const [node = process.execPath, ...rest] = this.#self;
    const [command = '', ...more] = args;
    // A group of its own: a Ctrl-C at the terminal is this program's to pass on.
    const child = spawn(node, [...rest, command, '-c', this.#configFile, ...more], {
      stdio: ['pipe', out, err],
      detached: true,
      env: { ...process.env, RESTAGE_LOG: 'warn', ...env, ...WATCHED },
    });
    this.#running.add(child);
    child.once('exit', () => this.#running.delete(child));
    return child;
  }
}
