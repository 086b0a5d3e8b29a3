import { once } from 'node:events';
import type pg from 'pg';
import { from } from 'pg-copy-streams';
import { LONG_CHARACTERS, LongText } from '#core/long-text.ts';
import { ScannedImage } from '#core/image-scanner.ts';
import { textsOf, type RowValues } from '#core/row-image.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { CopyBuffer, escapeText } from './copy-buffer.ts';

/** Rows by COPY, in the order of `columns`; returns how many the server took. */
export async function copyRows(
  client: pg.ClientBase,
  table: string,
  columns: readonly string[],
  rows: Iterable<RowValues> | AsyncIterable<readonly RowValues[]>,
): Promise<number> {
  if (columns.length === 0) return insertDefaults(client, table, rows);
  const stream = client.query(from(`COPY ${table} (${columns.map(quoteIdentifier).join(', ')}) FROM STDIN`));
  const finished = new Promise<void>((resolve, reject) => stream.once('finish', resolve).once('error', reject));
  finished.catch(() => undefined);
  try {
    const pending = new CopyBuffer();
    const send = async (data: string | Buffer): Promise<void> => {
      if (!stream.write(data)) await Promise.race([once(stream, 'drain'), finished]);
    };
    const chunks = Symbol.asyncIterator in rows ? rows : [rows];
    for await (const chunk of chunks) {
      for (const row of chunk) {
        if (row instanceof ScannedImage && row.bytes <= LONG_CHARACTERS && pending.addImage(row)) {
          if (pending.isFull) await send(pending.take());
          continue;
        }
        const texts = textsOf(row);
        if (texts.some(isLong)) {
          if (!pending.isEmpty) await send(pending.take());
          for (const text of encodeLongRow(texts)) await send(text);
        } else pending.add(texts);
        if (pending.isFull) await send(pending.take());
      }
    }
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

function isLong(value: string | null): boolean {
  return value !== null && value.length > LONG_CHARACTERS;
}

/** The same in pieces: a large value is never there once more. */
function* encodeLongRow(row: readonly (string | null)[]): Generator<string> {
  for (const [index, value] of row.entries()) {
    if (index > 0) yield '\t';
    if (value === null) yield '\\N';
    else for (const piece of new LongText([value]).pieces(LONG_CHARACTERS)) yield escapeText(piece);
  }
  yield '\n';
}
