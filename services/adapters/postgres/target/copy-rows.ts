import { once } from 'node:events';
import type pg from 'pg';
import { from } from 'pg-copy-streams';
import { LONG_CHARACTERS, LongText } from '#core/long-text.ts';
import { quoteIdentifier } from '#core/table-name.ts';

const NEEDS_ESCAPE = /[\\\t\n\r]/;
const BUFFER_CHARACTERS = 65_536;

/** Rows by COPY, in the order of `columns`; returns how many the server took. */
export async function copyRows(
  client: pg.ClientBase,
  table: string,
  columns: readonly string[],
  rows: Iterable<readonly (string | null)[]> | AsyncIterable<readonly (readonly (string | null)[])[]>,
): Promise<number> {
  if (columns.length === 0) return insertDefaults(client, table, rows);
  const stream = client.query(from(`COPY ${table} (${columns.map(quoteIdentifier).join(', ')}) FROM STDIN`));
  const finished = new Promise<void>((resolve, reject) => stream.once('finish', resolve).once('error', reject));
  finished.catch(() => undefined);
  try {
    let pending = '';
    const send = async (text: string): Promise<void> => {
      if (!stream.write(text)) await Promise.race([once(stream, 'drain'), finished]);
    };
    const chunks = Symbol.asyncIterator in rows ? rows : [rows];
    for await (const chunk of chunks) {
      for (const row of chunk) {
        if (row.some(isLong)) {
          if (pending !== '') await send(pending);
          pending = '';
          for (const text of encodeLongRow(row)) await send(text);
          continue;
        }
        pending += encodeRow(row);
        if (pending.length < BUFFER_CHARACTERS) continue;
        await send(pending);
        pending = '';
      }
    }
    stream.end(pending);
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

/** COPY's text format (PostgreSQL: "COPY", Text Format). */
function encodeRow(row: readonly (string | null)[]): string {
  let line = '';
  for (let index = 0; index < row.length; index += 1) {
    if (index > 0) line += '\t';
    const value = row[index];
    line += value === null || value === undefined ? '\\N' : NEEDS_ESCAPE.test(value) ? escapeText(value) : value;
  }
  return `${line}\n`;
}

function isLong(value: string | null): boolean {
  return value !== null && value.length > LONG_CHARACTERS;
}

/** The same in pieces: a large value is never there once more. */
function* encodeLongRow(row: readonly (string | null)[]): Generator<string> {
  for (const [index, value] of row.entries()) {
    if (index > 0) yield '\t';
    if (value === null) yield '\\N';
    else
      for (const piece of new LongText([value]).pieces(LONG_CHARACTERS))
        yield NEEDS_ESCAPE.test(piece) ? escapeText(piece) : piece;
  }
  yield '\n';
}

function escapeText(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('\t', '\\t').replaceAll('\n', '\\n').replaceAll('\r', '\\r');
}
