import { createServer, type Server, type Socket, connect } from 'node:net';
import type { SeededRandom } from './random.ts';

/** What a link does to the bytes that pass; toxiproxy's verbs. */
export type Toxic =
  | { readonly kind: 'none' }
  | { readonly kind: 'latency'; readonly ms: number; readonly jitterMs: number }
  /** Pieces of this many bytes, each its own packet. */
  | { readonly kind: 'slice'; readonly bytes: number }
  /** Every connection ends after so many bytes, either way. */
  | { readonly kind: 'cut'; readonly bytes: number }
  /** Nothing passes, nobody is told. */
  | { readonly kind: 'blackHole' }
  /** Connections are reset, new ones too. */
  | { readonly kind: 'reset' };

const NONE: Toxic = { kind: 'none' };
/** A slice of more bytes than these goes as it is: what is tested is the parser, not the patience. */
const SLICED_BYTES = 4_096;

/** A TCP link on 127.0.0.1 that can be spoilt and mended while it is used. */
export class TcpProxy implements AsyncDisposable {
  readonly port: number;
  readonly #server: Server;
  readonly #random: SeededRandom;
  readonly #links = new Set<Link>();
  #toxic: Toxic = NONE;

  private constructor(server: Server, port: number, random: SeededRandom) {
    this.#server = server;
    this.port = port;
    this.#random = random;
  }

  /** Forwards to a port of 127.0.0.1; `port` 0 takes any free one. */
  static async open(targetPort: number, random: SeededRandom, port = 0): Promise<TcpProxy> {
    // Half open, for a black hole does not pass on that one side said goodbye.
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', resolve);
    });
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('a TCP server has a port');
    const proxy = new TcpProxy(server, address.port, random);
    server.on('connection', (socket) => proxy.#accept(socket, targetPort));
    return proxy;
  }

  /** For connections that are there and those to come. */
  spoil(toxic: Toxic): void {
    this.#toxic = toxic;
    for (const link of this.#links) link.spoil(toxic);
  }

  /** What was held back is lost: connections that met a fault end, as after a real outage. */
  mend(): void {
    const hadHole = this.#toxic.kind === 'blackHole';
    this.spoil(NONE);
    if (hadHole) for (const link of this.#links) link.reset();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const link of this.#links) link.reset();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #accept(socket: Socket, targetPort: number): void {
    const link = new Link(
      socket,
      connect({ port: targetPort, host: '127.0.0.1', allowHalfOpen: true }),
      this.#random,
      // One end that closed in a black hole leaves the other, which is told when the hole is mended.
      () => this.#links.delete(link),
    );
    this.#links.add(link);
    link.spoil(this.#toxic);
  }
}

class Link {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #random: SeededRandom;
  #toxic: Toxic = NONE;
  #passed = 0;

  constructor(client: Socket, server: Socket, random: SeededRandom, onEnd: () => void) {
    this.#client = client;
    this.#server = server;
    this.#random = random;
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.setNoDelay(true);
      from.on('error', () => this.reset());
      from.on('close', () => {
        this.#sayGoodbye(to);
        if (to.closed) onEnd();
      });
      void this.#pump(from, to);
    }
  }

  spoil(toxic: Toxic): void {
    this.#toxic = toxic;
    this.#passed = 0;
    if (toxic.kind === 'reset') this.reset();
  }

  reset(): void {
    this.#client.resetAndDestroy();
    this.#server.resetAndDestroy();
  }

  async #pump(from: Socket, to: Socket): Promise<void> {
    try {
      for await (const bytes of from.iterator({ destroyOnReturn: false })) await this.#pass(bytes as Buffer, to);
      this.#sayGoodbye(to);
    } catch {
      this.reset();
    }
  }

  #sayGoodbye(to: Socket): void {
    if (this.#toxic.kind !== 'blackHole') to.end();
  }

  async #pass(bytes: Buffer, to: Socket): Promise<void> {
    const toxic = this.#toxic;
    switch (toxic.kind) {
      case 'none':
        return this.#write(bytes, to);
      case 'latency':
        await wait(toxic.ms + this.#random.next() * toxic.jitterMs);
        return this.#write(bytes, to);
      case 'slice': {
        const sliced = Math.min(bytes.length, SLICED_BYTES);
        for (let at = 0; at < sliced; at += toxic.bytes) {
          await this.#write(bytes.subarray(at, Math.min(at + toxic.bytes, sliced)), to);
          await wait(0);
        }
        return this.#write(bytes.subarray(sliced), to);
      }
      case 'cut': {
        const rest = toxic.bytes - this.#passed;
        this.#passed += bytes.length;
        if (bytes.length < rest) return this.#write(bytes, to);
        await this.#write(bytes.subarray(0, Math.max(0, rest)), to);
        return this.reset();
      }
      case 'blackHole':
        return;
      case 'reset':
        return this.reset();
    }
  }

  #write(bytes: Buffer, to: Socket): Promise<void> {
    if (bytes.length === 0 || to.destroyed) return Promise.resolve();
    return new Promise((resolve) => to.write(bytes, () => resolve()));
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => (ms === 0 ? setImmediate(resolve) : setTimeout(resolve, ms)));
}
