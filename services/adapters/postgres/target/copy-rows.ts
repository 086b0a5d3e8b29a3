import { once } from 'node:events';
import type pg from 'pg';
import { from } from 'pg-copy-streams';
import type { RowValues } from '#core/row-image.ts';
import { CopyBuffer } from './copy-buffer.ts';
import { copyPieces, copyText } from './copy-pieces.ts';

/** Rows by COPY, in the order of `columns`; returns how many the server took. */
export async function copyRows(
  client: pg.ClientBase,
  table: string,
  columns: readonly string[],
  rows: Iterable<RowValues> | AsyncIterable<readonly RowValues[]>,
): Promise<number> {
  if (columns.length === 0) return insertDefaults(client, table, rows);
  const stream = client.query(from(copyText(table, columns)));
  const finished = new Promise<void>((resolve, reject) => stream.once('finish', resolve).once('error', reject));
  finished.catch(() => undefined);
  try {
    const pending = new CopyBuffer();
    const send = async (data: string | Buffer): Promise<void> => {
      if (!stream.write(data)) await Promise.race([once(stream, 'drain'), finished]);
    };
    const chunks = Symbol.asyncIterator in rows ? rows : [rows];
    for await (const chunk of chunks) for (const piece of copyPieces(chunk, pending)) await send(piece);
    stream.end(pending.take());
  } catch (error) {
    stream.destroy(error instanceof Error ? error : new Error(String(error)));
    await finished.catch(() => undefined);
    throw error;
  }
  await finished;
  return stream.rowCount;
}

/** COPY's list of columns cannot be empty, and rows of a table without columns are a number only. */
async function insertDefaults(
  client: pg.ClientBase,
  table: string,
  rows: Iterable<unknown> | AsyncIterable<readonly unknown[]>,
): Promise<number> {
  let count = 0;
  if (Symbol.asyncIterator in rows) for await (const chunk of rows) count += chunk.length;
  else count = [...rows].length;
  await client.query(`INSERT INTO ${table} SELECT FROM generate_series(1, $1)`, [count]);
  return count;
}
