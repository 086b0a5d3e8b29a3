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
  connection.parse({ text, name: '', types: [] });
  for (const piece of bindMessage(values)) connection.stream.write(piece);
  connection.describe({ type: 'P', name: '' });
  connection.execute({ portal: '', rows: 0 });
  if (copied !== undefined) sendCopy(connection, copied);
}

/** @throws what making a piece threw, once the server is told that no more of them comes. */
function sendCopy(connection: WireConnection, copied: Iterable<string | Buffer>): void {
  try {
    for (const piece of copied) connection.sendCopyFromChunk(typeof piece === 'string' ? Buffer.from(piece) : piece);
  } catch (error) {
    connection.sendCopyFail('a row could not be made');
    throw error;
  }
  connection.endCopyFrom();
}
