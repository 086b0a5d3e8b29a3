import pg from 'pg';
import { bindMessage, type Parameter } from './bind-message.ts';
import type { WireConnection } from './wire-connection.ts';

export interface ChainedStatement {
  readonly text: string;
  readonly values?: readonly Parameter[];
  /** Rows for a COPY, piece by piece; absent for any other statement. */
  readonly copied?: Iterable<string | Buffer>;
}

/** What waits beyond this goes out, and the server begins with it while the rest is being made. */
const FLUSH_BYTES = 64 * 1024;
const COPY_DATA = 'd';
const COPY_DONE = Buffer.from([0x63, 0, 0, 0, 4]);
/** With an empty reason. */
const COPY_FAIL = Buffer.from([0x66, 0, 0, 0, 5, 0]);
/** Type and length, which counts itself. */
const HEAD_BYTES = 5;

/**
 * Statements that go out one behind the other, each as it is taken, and their answers, one each, in order: where one fails those behind it
 * are not run (PostgreSQL: "Message Flow", Pipelining). Two at least. What is not taken yet by the server is in memory at once.
 */
export async function runChain(
  client: pg.ClientBase,
  statements: Iterable<ChainedStatement>,
): Promise<pg.QueryResult<Record<string, unknown>>[]> {
  return new Promise((resolve, reject) => {
    client.query(new Chain(statements, (error, answers) => (error === null ? resolve(answers) : reject(error))));
  });
}

type Done = (error: unknown, answers: pg.QueryResult<Record<string, unknown>>[]) => void;

class Chain extends pg.Query {
  readonly #statements: Iterable<ChainedStatement>;
  /** Why not all of them could be made. */
  #fault: { readonly error: unknown } | null = null;

  constructor(statements: Iterable<ChainedStatement>, done: Done) {
    // Of several statements the driver gives a list of answers.
    super({ text: '', values: [] }, (error: unknown, answers: pg.QueryResult<Record<string, unknown>>[]) =>
      done(this.#fault === null ? error : this.#fault.error, answers),
    );
    this.#statements = statements;
  }

  requiresPreparation(): boolean {
    return true;
  }

  /** Called by pg.Query once the connection is this query's, corked. */
  prepare(connection: WireConnection): void {
    try {
      for (const statement of this.#statements) {
        send(connection, statement);
        if (connection.stream.writableLength < FLUSH_BYTES) continue;
        connection.stream.uncork();
        connection.stream.cork();
      }
    } catch (error) {
      this.#fault = { error };
    }
    connection.sync();
  }

  /** Its rows are on their way already (PostgreSQL: "COPY Operations"). */
  handleCopyInResponse(): void {}
}

function send(connection: WireConnection, { text, values = [], copied }: ChainedStatement): void {
  const { stream } = connection;
  connection.parse({ text, name: '', types: [] });
  for (const piece of bindMessage(values)) stream.write(piece);
  connection.describe({ type: 'P', name: '' });
  connection.execute({ portal: '', rows: 0 });
  if (copied === undefined) return;
  let end = COPY_FAIL;
  try {
    for (const piece of copied) {
      const head = Buffer.allocUnsafe(HEAD_BYTES);
      head.write(COPY_DATA, 0, 'latin1');
      head.writeInt32BE(Buffer.byteLength(piece) + HEAD_BYTES - 1, 1);
      stream.write(head);
      stream.write(piece);
    }
    end = COPY_DONE;
  } finally {
    stream.write(end);
  }
}
