import pg from 'pg';
import { bindMessage, type Parameter } from './bind-message.ts';
import type { WireConnection } from './wire-connection.ts';

export interface ChainedStatement {
  readonly text: string;
  readonly values?: readonly Parameter[];
}

/**
 * Statements that go out together, and their answers, one each, in order: where one fails those behind it are not run (PostgreSQL:
 * "Message Flow", Pipelining). All of it is in memory at once. Two at least.
 */
export async function runChain(
  client: pg.ClientBase,
  statements: readonly [ChainedStatement, ChainedStatement, ...ChainedStatement[]],
): Promise<pg.QueryResult<Record<string, unknown>>[]> {
  return new Promise((resolve, reject) => {
    client.query(new Chain(statements, (error, answers) => (error === null ? resolve(answers) : reject(error))));
  });
}

type Done = (error: Error | null, answers: pg.QueryResult<Record<string, unknown>>[]) => void;

class Chain extends pg.Query {
  readonly #statements: readonly ChainedStatement[];

  constructor(statements: readonly ChainedStatement[], done: Done) {
    // Of several statements the driver gives a list of answers.
    super({ text: '', values: [] }, done);
    this.#statements = statements;
  }

  requiresPreparation(): boolean {
    return true;
  }

  /** Called by pg.Query once the connection is this query's; what is written here goes out together. */
  prepare(connection: WireConnection): void {
    for (const { text, values = [] } of this.#statements) {
      connection.parse({ text, name: '', types: [] });
      for (const piece of bindMessage(values)) connection.stream.write(piece);
      connection.describe({ type: 'P', name: '' });
      connection.execute({ portal: '', rows: 0 });
    }
    connection.sync();
  }
}
