import { once } from 'node:events';
import type pg from 'pg';
import { from } from 'pg-copy-streams';
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
    const chunks = Symbol.asyncIterator in rows ? rows : [rows];
    for await (const chunk of chunks) {
      for (const row of chunk) {
        pending += encodeRow(row);
        if (pending.length < BUFFER_CHARACTERS) continue;
        if (!stream.write(pending)) await Promise.race([once(stream, 'drain'), finished]);
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

function escapeText(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('\t', '\\t').replaceAll('\n', '\\n').replaceAll('\r', '\\r');
}
