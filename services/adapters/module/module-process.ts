import { spawn, type ChildProcess } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { RestageError } from '#core/errors.ts';
import type { ModuleInput } from '#core/module/module-runner.ts';
import type { Said } from './process/serve.ts';

export interface ProcessLimits {
  readonly memoryMb: number;
}

/** What Node itself takes beside the heap of the module. */
const OWN_MB = 128;
const MIB = 1024 * 1024;
/** Reads the script as the first frame and runs it: it may be longer than an argument. */
const BOOTSTRAP = `
const { readSync } = require('node:fs');
const read = (length) => {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    let count = 0;
    try { count = readSync(0, bytes, at, length - at, null); } catch (error) { if (error.code !== 'EAGAIN') throw error; continue; }
    if (count === 0) process.exit(0);
    at += count;
  }
  return bytes;
};
const code = read(read(4).readUInt32BE()).toString('utf8');
new (require('node:vm').Script)('(function (require, module, exports) {' + code + '\\n})', { filename: 'restage-module.js' }).runInThisContext()(require, {}, {});
`;

/** How a process came to its end. */
export type Ending = 'time' | 'memory' | 'stopped';

/**
 * A module's functions in a process of their own. Not a thread of the service: where V8 has no memory for one large array it ends the whole
 * process, whatever the thread's limits are.
 */
export class ModuleProcess {
  readonly #child: ChildProcess;
  readonly #input: Writable;
  readonly #frames: string[] = [];
  readonly #ended: Promise<void>;
  #wake: () => void = () => undefined;
  #rest: Buffer[] = [];
  #restBytes = 0;
  #hasEnded = false;
  #lastWords = '';

  constructor(code: string, { memoryMb }: ProcessLimits) {
    const rssBytes = (memoryMb + OWN_MB) * MIB;
    // Nothing of the service's environment or options: what the module does depends on its input alone.
    this.#child = spawn(
      process.execPath,
      [`--max-old-space-size=${memoryMb}`, '--max-semi-space-size=8', '-e', BOOTSTRAP, '--', String(rssBytes)],
      { stdio: ['pipe', 'ignore', 'pipe', 'pipe'], env: { TZ: 'UTC', LC_ALL: 'C' } },
    );
    const { stdin, stderr, stdio } = this.#child;
    if (stdin === null || stderr === null) throw new RestageError('bug', 'a process without its pipes');
    this.#input = stdin;
    // Its end is told by the exit, not by what was still to be written.
    stdin.on('error', () => undefined);
    stderr.setEncoding('utf8').on('data', (text: string) => (this.#lastWords = (this.#lastWords + text).slice(-4_000)));
    const output = stdio[3] as Readable;
    output.on('data', (bytes: Buffer) => this.#take(bytes)).on('error', () => undefined);
    this.#ended = new Promise<void>((resolve) => {
      this.#child.on('error', () => resolve()).on('close', () => resolve());
    }).then(() => {
      this.#hasEnded = true;
      this.#wake();
    });
    this.#send(code);
  }

  /** What it threw at its start; '' for nothing. */
  get lastWords(): string {
    return this.#lastWords;
  }

  /** What it says of itself first; null when it ended. */
  async hello(limitMs: number, signal: AbortSignal): Promise<{ readonly said: string } | Ending> {
    const [first, ending] = await this.#collect(1, limitMs, signal);
    const [said] = first;
    return said === undefined ? (ending ?? 'stopped') : { said };
  }

  /** Answers, in order, as far as they came, and how it ended where they are not all. */
  async ask(
    batch: readonly ModuleInput[],
    limitMs: number,
    signal: AbortSignal,
  ): Promise<readonly [readonly Said[], Ending | null]> {
    this.#send(JSON.stringify(batch));
    const [frames, ending] = await this.#collect(batch.length, limitMs, signal);
    return [frames.map((frame) => JSON.parse(frame) as Said), ending];
  }

  async close(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  #send(text: string): void {
    const body = Buffer.from(text, 'utf8');
    const head = Buffer.alloc(4);
    head.writeUInt32BE(body.length);
    this.#input.write(Buffer.concat([head, body]));
  }

  async #collect(count: number, limitMs: number, signal: AbortSignal): Promise<readonly [string[], Ending | null]> {
    const state = { isLate: false };
    const timer = setTimeout(() => {
      state.isLate = true;
      this.#wake();
    }, limitMs);
    const onAbort = (): void => this.#wake();
    signal.addEventListener('abort', onAbort);
    try {
      while (this.#frames.length < count && !this.#hasEnded && !state.isLate && !signal.aborted)
        await new Promise<void>((resolve) => (this.#wake = resolve));
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
    if (this.#frames.length >= count) return [this.#frames.splice(0, count), null];
    const ending = signal.aborted ? 'stopped' : state.isLate ? 'time' : 'memory';
    await this.close();
    return [this.#frames.splice(0, count), ending];
  }

  #take(bytes: Buffer): void {
    this.#rest.push(bytes);
    this.#restBytes += bytes.length;
    while (this.#restBytes >= 4) {
      const head = this.#head();
      const length = head.readUInt32BE();
      if (this.#restBytes < 4 + length) return;
      const whole = Buffer.concat(this.#rest);
      this.#frames.push(whole.toString('utf8', 4, 4 + length));
      this.#rest = [whole.subarray(4 + length)];
      this.#restBytes -= 4 + length;
      this.#wake();
    }
  }

  #head(): Buffer {
    const [first] = this.#rest;
    if (first !== undefined && first.length >= 4) return first;
    this.#rest = [Buffer.concat(this.#rest)];
    return this.#rest[0] ?? Buffer.alloc(4);
  }
}
