import { once } from 'node:events';
import type { Socket } from 'node:net';
import pg from 'pg';
import { LONG_CHARACTERS, LongText, type Text } from '#core/long-text.ts';
import type { WireConnection } from './wire-connection.ts';

/** One statement, its parameters as text; large ones are written piece by piece, as the server takes them. */
export async function runStatement<T extends pg.QueryResultRow>(
  client: pg.ClientBase,
  text: string,
  values: readonly (Text | null)[],
): Promise<pg.QueryResult<T>> {
  if (!values.some(isLong)) return client.query<T>(text, values.map(shortText));
  return new Promise((resolve, reject) => {
    const done: Done = (error, result) => (error === null ? resolve(result as pg.QueryResult<T>) : reject(error));
    client.query(new LongQuery(text, values, done));
  });
}

type Done = (error: Error | null, result?: pg.QueryResult) => void;

function isLong(value: Text | null): boolean {
  return value !== null && value.length > LONG_CHARACTERS;
}

function shortText(value: Text | null): string | null {
  return value === null ? null : String(value);
}

/** The client would put the whole message together, twice the size of a value beside the value itself (invariant 6). */
class LongQuery extends pg.Query {
  readonly #statement: string;
  readonly #values: readonly (Text | null)[];

  constructor(statement: string, values: readonly (Text | null)[], done: Done) {
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
    this.#bind(connection.stream).then(
      () => {
        connection.describe({ type: 'P', name: '' });
        connection.execute({ portal: '', rows: 0 });
        connection.sync();
      },
      (error: unknown) => connection.stream.destroy(error instanceof Error ? error : new Error(String(error))),
    );
  }

  /** PostgreSQL: "Message Formats", Bind: unnamed portal and statement, everything in text. */
  async #bind(stream: Socket): Promise<void> {
    const values = this.#values.map((value) => (typeof value === 'string' ? new LongText([value]) : value));
    const sizes = values.map((value) => (value === null ? -1 : bytesOf(value)));
    const head = Buffer.alloc(11);
    head.write('B', 0, 'latin1');
    head.writeInt32BE(
      sizes.reduce((sum, size) => sum + 4 + Math.max(size, 0), 12),
      1,
    );
    head.writeInt16BE(values.length, 9);
    await send(stream, head);
    for (const [index, value] of values.entries()) {
      const size = Buffer.alloc(4);
      size.writeInt32BE(sizes[index] ?? -1);
      await send(stream, size);
      for (const piece of value?.pieces(LONG_CHARACTERS) ?? []) await send(stream, piece);
    }
    await send(stream, Buffer.alloc(2));
  }
}

function bytesOf(text: LongText): number {
  return text.parts.reduce((sum, part) => sum + Buffer.byteLength(part), 0);
}

async function send(stream: Socket, data: string | Buffer): Promise<void> {
  if (stream.destroyed) throw new Error('Connection terminated unexpectedly');
  if (stream.write(data)) return;
  const either = new AbortController();
  const wait = (event: string): Promise<unknown> =>
    once(stream, event, { signal: either.signal }).catch(() => undefined);
  await Promise.race([wait('drain'), wait('close')]);
  either.abort();
}
