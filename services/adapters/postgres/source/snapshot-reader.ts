import type pg from 'pg';
import { to } from 'pg-copy-streams';
import { pause } from '#core/backoff.ts';
import { CopyTextSplitter } from '#core/copy-text.ts';
import { CopyTuples } from '#core/copy-tuples.ts';
import { RestageError } from '#core/errors.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, quoteIdentifier, quoteTable, tableKey, type TableName } from '#core/table-name.ts';
import type { SentTuple } from '#core/tuple.ts';
import { SEES_SQL, takeSnapshot } from './kept-snapshot.ts';

/** One run of chunks of a table: the table itself, or a partition of it. */
export interface TablePiece {
  /** null: the table itself. */
  readonly partition: TableName | null;
  readonly chunks: number;
  /** Pages of each chunk but the last, which is open-ended; null: one chunk, which is all of it, in no order. */
  readonly pages: number | null;
}

/** A chunk of a piece: rows after the first `skip` ones. */
export interface ChunkRange extends Omit<TablePiece, 'chunks'> {
  /** From 0, in its piece. */
  readonly index: number;
  readonly isLast: boolean;
  /** Only where the piece is cut by pages, else 0. */
  readonly skip: number;
}

/** The snapshot to read under; `sees` null where that is not known. */
export interface ExportedSnapshot {
  readonly name: string;
  readonly sees: string | null;
}

/**
 * For sessions that read chunks: the rows of a chunk come in the order of their places in the table, each time it is read under one
 * snapshot, so that another life can go on after the last row that is in Kafka. Nothing but a scan of a range of TIDs may be chosen.
 */
export const READER_SETTINGS: Readonly<Record<string, string>> = {
  row_security: 'off',
  enable_tidscan: 'on',
  enable_seqscan: 'off',
  max_parallel_workers_per_gather: '0',
  // Above this a scan that is "off" and yet the only one (an access method without ranges of TIDs) counts as worth compiling.
  jit: 'off',
};

interface PieceRow extends TableName {
  readonly leaf_schema: string | null;
  readonly leaf: string | null;
  readonly bytes: string;
  readonly method: string | null;
  readonly is_hollow: boolean;
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
 * Cuts every table, or each partition of one, into page ranges of about `chunkBytes`, the last open-ended; what is of another access method
 * than heap, whose TIDs may mean anything, is one chunk. Takes no lock that lasts. A partitioned table without partitions has
 * none; a table that is gone is left out.
 */
export async function planChunks(
  client: pg.ClientBase,
  tables: readonly TableName[],
  chunkBytes: number,
): Promise<Map<string, TablePiece[]>> {
  const { rows } = await client.query<PieceRow>(
    `SELECT n.nspname AS schema, c.relname AS table, pg_relation_size(coalesce(p.oid, c.oid))::text AS bytes,
            pn.nspname AS leaf_schema, p.relname AS leaf, a.amname AS method, c.relkind = 'p' AND p.oid IS NULL AS is_hollow
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       JOIN unnest($1::text[], $2::text[]) AS wanted(s, t) ON n.nspname = wanted.s AND c.relname = wanted.t
       LEFT JOIN LATERAL pg_partition_tree(c.oid) AS tree ON c.relkind = 'p' AND tree.isleaf AND tree.relid <> c.oid
       LEFT JOIN pg_class p ON p.oid = tree.relid LEFT JOIN pg_namespace pn ON pn.oid = p.relnamespace
       LEFT JOIN pg_am a ON a.oid = coalesce(p.relam, c.relam)
      ORDER BY p.oid`,
    [tables.map((table) => table.schema), tables.map((table) => table.table)],
  );
  const pages = Math.max(1, Math.floor(chunkBytes / PAGE_BYTES));
  const found = new Map<string, TablePiece[]>();
  for (const { leaf_schema: schema, leaf: table, bytes, method, is_hollow: isHollow, ...row } of rows) {
    const pieces = found.get(tableKey(row)) ?? [];
    found.set(tableKey(row), pieces);
    if (isHollow) continue;
    const partition = schema === null || table === null ? null : { schema, table };
    const chunks = Math.max(1, Math.ceil(Number(bytes) / PAGE_BYTES / pages));
    pieces.push(method === 'heap' ? { partition, chunks, pages } : { partition, chunks: 1, pages: null });
  }
  return found;
}

/**
 * The rows of one chunk as an exported snapshot sees them, in arrays as they arrive, values in the order of `columns`; on a session with
 * READER_SETTINGS in the same order each time. The lock comes before the snapshot, and the file node is compared under both, so a TRUNCATE or rewrite since cannot pass
 * unseen (it throws TableRewrittenSignal). Whoever holds the table locked may do so for long: once aborted, the wait ends with the signal's
 * reason. @throws RestageError snapshot_lost when the exporting session is gone.
 */
export async function* readChunk(
  client: pg.Client,
  table: TableStructure,
  columns: readonly string[],
  range: ChunkRange,
  snapshot: ExportedSnapshot,
  signal: AbortSignal,
): AsyncGenerator<SentTuple[]> {
  const holder = range.partition ?? table;
  await lockTable(client, holder, signal);
  try {
    await takeSnapshot(client, snapshot.name);
    await requireSameFile(client, holder, snapshot);
    const rows = client.query(to(`COPY (${chunkSql(holder, columns, range)}) TO STDOUT`));
    const tuples = new CopyTuples(columns.length);
    const splitter = new CopyTextSplitter((data, from, end) => tuples.read(data, from, end));
    for await (const bytes of rows) {
      const split = splitter.split(bytes as Buffer);
      if (split.length > 0) yield split;
    }
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/** The query that reads a chunk of a table or partition. */
export function chunkSql(holder: TableName, columns: readonly string[], range: ChunkRange): string {
  const { index, isLast, pages, skip } = range;
  const rows = `SELECT ${columns.map(quoteIdentifier).join(', ')} FROM ONLY ${quoteTable(holder)}`;
  if (pages === null) return rows;
  const upper = isLast ? '' : ` AND ctid < '(${(index + 1) * pages},0)'::tid`;
  return `${rows} WHERE ctid >= '(${index * pages},0)'::tid${upper}${skip === 0 ? '' : ` OFFSET ${skip}`}`;
}

async function lockTable(client: pg.Client, table: TableName, signal: AbortSignal): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      // One message: of thousands of tables each would wait for three answers.
      await client.query(
        `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS};
         LOCK TABLE ONLY ${quoteTable(table)} IN ACCESS SHARE MODE`,
      );
      return;
    } catch (error) {
      await client.query('ROLLBACK');
      const code = error instanceof Error && 'code' in error ? error.code : '';
      if (code === '42P01') throw new TableRewrittenSignal(formatTable(table));
      if (code !== LOCK_NOT_AVAILABLE || attempt === LOCK_ATTEMPTS) throw error;
      await pause(LOCK_TIMEOUT_MS, signal);
      signal.throwIfAborted();
    }
  }
}

async function requireSameFile(client: pg.Client, table: TableName, snapshot: ExportedSnapshot): Promise<void> {
  const [row] = (
    await client.query<{ is_same: boolean; sees: string }>(
      `SELECT c.relfilenode = pg_relation_filenode(c.oid) AS is_same, ${SEES_SQL} AS sees
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`,
      [table.schema, table.table],
    )
  ).rows;
  // A server that was restarted meanwhile gives the same names again.
  if (row !== undefined && snapshot.sees !== null && row.sees !== snapshot.sees)
    throw new RestageError('snapshot_lost', 'the snapshot of the initial load is another one now', {
      where: formatTable(table),
    });
  if (row?.is_same !== true) throw new TableRewrittenSignal(formatTable(table));
}
