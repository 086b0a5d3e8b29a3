import { once } from 'node:events';
import type { Socket } from 'node:net';
import pg from 'pg';
import { LONG_CHARACTERS } from '#core/long-text.ts';
import { bindMessage, type Parameter } from './bind-message.ts';
import type { WireConnection } from './wire-connection.ts';

/** One statement, its parameters as text; large ones are written piece by piece, as the server takes them, and bytes as they are. */
export async function runStatement<T extends pg.QueryResultRow>(
  client: pg.ClientBase,
  text: string,
  values: readonly Parameter[],
): Promise<pg.QueryResult<T>> {
  if (!values.some(isLong)) return client.query<T>(text, values.map(shortText));
  return new Promise((resolve, reject) => {
    const done: Done = (error, result) => (error === null ? resolve(result as pg.QueryResult<T>) : reject(error));
    client.query(new LongQuery(text, values, done));
  });
}

type Done = (error: Error | null, result?: pg.QueryResult) => void;

/** Of bytes the client would say that they are in binary format. */
function isLong(value: Parameter): boolean {
  return value !== null && (value instanceof Buffer || value.length > LONG_CHARACTERS);
}

function shortText(value: Parameter): string | null {
  return value === null ? null : String(value);
}

/** The client would put the whole message together, twice the size of a value beside the value itself (invariant 6). */
class LongQuery extends pg.Query {
  readonly #statement: string;
  readonly #values: readonly Parameter[];

  constructor(statement: string, values: readonly Parameter[], done: Done) {
    super({ text: statement, values: [] }, done as (error: Error, result: pg.QueryResult) => void);
    this.#statement = statement;
    this.#values = values;
  }

  requiresPreparation(): boolean {
    return true;
  }

  /** Called by pg.Query once the connection is this statement's. */
  prepare(connection: WireConnection): void {
    connection.parse({ text: this.#statement, name: '', types: [] });
    // A connection that breaks ends the statement by itself: the client hears of it.
    sendAll(connection.stream, bindMessage(this.#values)).then(
      () => {
        connection.describe({ type: 'P', name: '' });
        connection.execute({ portal: '', rows: 0 });
        connection.sync();
      },
      (error: unknown) => connection.stream.destroy(error instanceof Error ? error : new Error(String(error))),
    );
  }
}

/** Small pieces go out together; where much of it waits to be taken, so does what is left. */
async function sendAll(stream: Socket, pieces: Iterable<string | Buffer>): Promise<void> {
  stream.cork();
  try {
    for (const piece of pieces) {
      if (stream.destroyed) throw new Error('Connection terminated unexpectedly');
      stream.write(piece);
      if (stream.writableLength < LONG_CHARACTERS) continue;
      stream.uncork();
      if (stream.writableNeedDrain) await drained(stream);
      stream.cork();
    }
  } finally {
    stream.uncork();
  }
}

async function drained(stream: Socket): Promise<void> {
  const either = new AbortController();
  const wait = (event: string): Promise<unknown> =>
    once(stream, event, { signal: either.signal }).catch(() => undefined);
  await Promise.race([wait('drain'), wait('close')]);
  either.abort();
}
