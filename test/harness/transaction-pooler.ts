import { randomInt } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import pg from 'pg';

const SSL_REQUEST = 80_877_103;
const START_UP = 196_608;
const [QUERY, SYNC, TERMINATE, READY] = ['Q', 'S', 'X', 'Z'].map((letter) => letter.charCodeAt(0));
const IDLE = 'I'.charCodeAt(0);

/** What PgBouncer does in transaction mode, at its smallest: many clients, one session of the server, lent until a transaction ends. */
export class TransactionPooler implements AsyncDisposable {
  readonly url: string;
  readonly #pool: pg.Client;
  readonly #server: Server;
  readonly #refuses: readonly string[];
  readonly #clients = new Set<PooledClient>();
  #holder: PooledClient | null = null;
  #answers: Buffer = Buffer.alloc(0);
  /** Queries of the holder that the server has not answered. */
  #open = 0;

  private constructor(pool: pg.Client, server: Server, url: string, refuses: readonly string[]) {
    this.#pool = pool;
    this.#server = server;
    this.url = url;
    this.#refuses = refuses;
    pool.connection.stream.removeAllListeners('data');
    pool.connection.stream.on('data', (bytes: Buffer) => this.#answer(bytes));
    server.on('connection', (socket) => {
      const client = new PooledClient(socket);
      this.#clients.add(client);
      socket.on('data', (bytes) => this.#take(client, bytes));
      socket.on('error', () => undefined);
      socket.on('close', () => this.#clients.delete(client));
    });
  }

  /** `refuses`: start-up parameters that are not taken; others are taken and forgotten, as with ignore_startup_parameters. */
  static async open(url: string, refuses: readonly string[] = ['replication']): Promise<TransactionPooler> {
    const pool = new pg.Client({ connectionString: url });
    pool.on('error', () => undefined);
    await pool.connect();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('a TCP server has a port');
    const own = new URL(url);
    own.port = String(address.port);
    return new TransactionPooler(pool, server, own.href, refuses);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { socket } of this.#clients) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#pool.connection.stream.destroy();
  }

  #take(client: PooledClient, bytes: Buffer): void {
    client.asked = Buffer.concat([client.asked, bytes]);
    if (!client.isIn) this.#greet(client);
    if (client.isIn) this.#lend();
  }

  #greet(client: PooledClient): void {
    if (client.asked.length < 8) return;
    const length = client.asked.readInt32BE(0);
    if (client.asked.length < length) return;
    const kind = client.asked.readInt32BE(4);
    const parameters = client.asked.toString('latin1', 8, length).split('\0');
    client.asked = client.asked.subarray(length);
    if (kind === SSL_REQUEST) return void client.socket.write('N');
    if (kind !== START_UP) return void client.socket.end();
    const refused = parameters.find((name, at) => at % 2 === 0 && this.#refuses.includes(name));
    if (refused !== undefined) {
      const fields = `SFATAL\0C08P01\0Munsupported startup parameter: ${refused}\0\0`;
      return void client.socket.end(frame('E', Buffer.from(fields)));
    }
    const key = Buffer.alloc(8);
    key.writeInt32BE(randomInt(2 ** 30, 2 ** 31 - 1), 0);
    client.isIn = true;
    client.socket.write(Buffer.concat([frame('R', Buffer.alloc(4)), frame('K', key), frame('Z', Buffer.from('I'))]));
  }

  /** Passes what the holder asks, else what the first one asks that waits. */
  #lend(): void {
    for (;;) {
      this.#holder ??= [...this.#clients].find(({ asked }) => asked.length > 0) ?? null;
      const next = this.#holder === null ? null : frameAt(this.#holder.asked);
      if (this.#holder === null || next === null) return;
      this.#holder.asked = this.#holder.asked.subarray(next.length);
      if (next[0] === TERMINATE) {
        this.#holder.socket.end();
        this.#holder = null;
        continue;
      }
      if (next[0] === QUERY || next[0] === SYNC) this.#open += 1;
      this.#pool.connection.stream.write(next);
    }
  }

  #answer(bytes: Buffer): void {
    this.#answers = Buffer.concat([this.#answers, bytes]);
    for (let next = frameAt(this.#answers); next !== null; next = frameAt(this.#answers)) {
      this.#answers = this.#answers.subarray(next.length);
      this.#holder?.socket.write(next);
      if (next[0] !== READY) continue;
      this.#open -= 1;
      if (this.#open === 0 && next[5] === IDLE) this.#holder = null;
    }
    this.#lend();
  }
}

class PooledClient {
  readonly socket: Socket;
  asked: Buffer = Buffer.alloc(0);
  isIn = false;

  constructor(socket: Socket) {
    this.socket = socket;
  }
}

function frame(kind: string, body: Buffer): Buffer {
  const head = Buffer.from(`${kind}0000`, 'latin1');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

/** The first whole message of the bytes (PostgreSQL: "Message Formats"). */
function frameAt(bytes: Buffer): Buffer | null {
  if (bytes.length < 5) return null;
  const length = bytes.readInt32BE(1) + 1;
  return bytes.length < length ? null : bytes.subarray(0, length);
}
