import type pg from 'pg';
import { to } from 'pg-copy-streams';
import { CopyTextSplitter, readTexts } from '#core/copy-text.ts';
import type { Row } from '#core/envelope.ts';
import { cellOf, rowFrom } from '#core/rules/rows.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import type { SourceTable } from './shaped-table.ts';

/** All rows of a table as the session's snapshot has them, masked as events carry them, in arrays as they arrive. */
export async function* readSourceRows(
  client: pg.Client,
  { source: structure, found, mask }: SourceTable,
  signal: AbortSignal,
): AsyncGenerator<Row[]> {
  const columns = structure.columns.filter(({ generated }) => !generated);
  const names = columns.map(({ name }) => quoteIdentifier(name)).join(', ');
  const splitter = new CopyTextSplitter(readTexts);
  for await (const bytes of client.query(to(`COPY (SELECT ${names} FROM ${found.sql}) TO STDOUT`))) {
    signal.throwIfAborted();
    yield splitter
      .split(bytes as Buffer)
      .map((texts) => (mask === null ? texts : mask(texts)))
      .map((texts) => rowFrom(columns.map(({ name, json }, index) => [name, cellOf(texts[index] ?? null, json)])));
  }
}
