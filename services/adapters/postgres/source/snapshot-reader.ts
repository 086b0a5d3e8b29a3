import type pg from 'pg';
import { to } from 'pg-copy-streams';
import { pause } from '#core/backoff.ts';
import { CopyTextSplitter } from '#core/copy-text.ts';
import { RestageError } from '#core/errors.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteIdentifier, quoteLiteral, quoteTable, tableKey, type TableName } from '#core/table-name.ts';

/** Pages [from, to) of a table's main fork; `to` null is open-ended. */
export interface PageRange {
  /** The partition whose pages they are, where the table is partitioned. */
  readonly partition?: TableName;
  readonly from: number;
  readonly to: number | null;
}

/** The table was truncated or rewritten after the snapshot: reading it now would give no rows, without an error. */
export class TableRewrittenSignal extends Error {
  override readonly name = 'TableRewrittenSignal';
}

const PAGE_BYTES = 8192;
const LOCK_TIMEOUT_MS = 500;
const LOCK_ATTEMPTS = 120;
const LOCK_NOT_AVAILABLE = '55P03';

/**
 * Cuts every table, or each partition of one, into page ranges of about `chunkBytes`, the last open-ended. Takes no lock that lasts. A
 * partitioned table without partitions has none.
 */
export async function planChunks(
  client: pg.ClientBase,
  tables: readonly TableName[],
  chunkBytes: number,
): Promise<Map<string, PageRange[]>> {
  const { rows } = await client.query<TableName & { leaf_schema: string | null; leaf: string | null; bytes: string }>(
    `SELECT n.nspname AS schema, c.relname AS table, pg_relation_size(coalesce(p.oid, c.oid))::text AS bytes,
            pn.nspname AS leaf_schema, p.relname AS leaf
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       JOIN unnest($1::text[], $2::text[]) AS wanted(s, t) ON n.nspname = wanted.s AND c.relname = wanted.t
       LEFT JOIN LATERAL pg_partition_tree(c.oid) AS tree ON c.relkind = 'p' AND tree.isleaf
       LEFT JOIN pg_class p ON p.oid = tree.relid LEFT JOIN pg_namespace pn ON pn.oid = p.relnamespace
      ORDER BY p.oid`,
    [tables.map((table) => table.schema), tables.map((table) => table.table)],
  );
  const pagesPerChunk = Math.max(1, Math.floor(chunkBytes / PAGE_BYTES));
  const found = new Map<string, PageRange[]>();
  for (const { leaf_schema: schema, leaf: table, bytes, ...row } of rows) {
    const chunks = Math.max(1, Math.ceil(Number(bytes) / PAGE_BYTES / pagesPerChunk));
    const ranges = Array.from({ length: chunks }, (_, index) => ({
      ...(schema === null || table === null ? {} : { partition: { schema, table } }),
      from: index * pagesPerChunk,
      to: index === chunks - 1 ? null : (index + 1) * pagesPerChunk,
    }));
    const known = found.get(tableKey(row));
    if (known === undefined) found.set(tableKey(row), ranges);
    else known.push(...ranges);
  }
  return found;
}

/**
 * The rows of one chunk as an exported snapshot sees them, in arrays as they arrive, values in the order of `columns`.
 * The lock comes before the snapshot, and the file node is compared under both, so a TRUNCATE or rewrite since cannot pass
 * unseen (it throws TableRewrittenSignal). @throws RestageError snapshot_lost when the exporting session is gone.
 */
export async function* readChunk(
  client: pg.Client,
  table: TableStructure,
  columns: readonly string[],
  range: PageRange,
  snapshot: string,
): AsyncGenerator<(string | null)[][]> {
  const holder = range.partition ?? table;
  await lockTable(client, holder);
  try {
    try {
      await client.query(`SET TRANSACTION SNAPSHOT ${quoteLiteral(snapshot)}`);
    } catch (cause) {
      throw new RestageError('snapshot_lost', 'the snapshot of the initial load is gone', {
        where: formatTable(table),
        cause,
      });
    }
    await requireSameFile(client, holder);
    const list = columns.map(quoteIdentifier).join(', ');
    const upper = range.to === null ? '' : ` AND ctid < '(${range.to},0)'::tid`;
    const rows = client.query(
      to(
        `COPY (SELECT ${list} FROM ONLY ${quoteTable(holder)} WHERE ctid >= '(${range.from},0)'::tid${upper}) TO STDOUT`,
      ),
    );
    const splitter = new CopyTextSplitter();
    for await (const bytes of rows) {
      const split = splitter.split(bytes as Buffer);
      if (split.length > 0) yield columns.length === 0 ? split.map(() => []) : split;
    }
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

async function lockTable(client: pg.Client, table: TableName): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    try {
      await client.query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`);
      await client.query(`LOCK TABLE ONLY ${quoteTable(table)} IN ACCESS SHARE MODE`);
      return;
    } catch (error) {
      await client.query('ROLLBACK');
      const code = error instanceof Error && 'code' in error ? error.code : '';
      if (code === '42P01') throw new TableRewrittenSignal(formatTable(table));
      if (code !== LOCK_NOT_AVAILABLE || attempt === LOCK_ATTEMPTS) throw error;
      await pause(LOCK_TIMEOUT_MS);
    }
  }
}

async function requireSameFile(client: pg.Client, table: TableName): Promise<void> {
  const [row] = (
    await client.query<{ is_same: boolean }>(
      `SELECT c.relfilenode = pg_relation_filenode(c.oid) AS is_same
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`,
      [table.schema, table.table],
    )
  ).rows;
  if (row?.is_same !== true) throw new TableRewrittenSignal(formatTable(table));
}
