import type pg from 'pg';
import { ChunkDigests, groupChunks, hashNumber } from '#core/verify/chunk-digests.ts';
import { eachFetched, type SuspectKey } from './row-cursor.ts';
import type { TablePair } from './table-pair.ts';
import type { TableSide } from './table-side.ts';
import { digestSql, rowsSql } from './table-sql.ts';

/** 128 MB a query at the usual page size, so that progress shows and an abort is heard. */
const PAGES_A_SCAN = 16_384;
const LAST_PAGE = 4_294_967_295;
const ROWS_IN_HAND = 100_000;
/** A table with more differing rows than this is not looked at further: it is not a case for single rows. */
export const MOST_SUSPECTS = 5_000;

export interface Suspects {
  readonly keys: readonly SuspectKey[];
  readonly chunksLeft: number;
}

export interface ScanOptions {
  /** Sessions in a repeatable-read transaction each: every query of a scan sees the same rows. */
  readonly source: pg.ClientBase;
  readonly target: pg.ClientBase;
  readonly signal: AbortSignal;
  readonly onPages: (pages: number) => void;
}

export async function countPages(client: pg.ClientBase, side: TableSide): Promise<number> {
  const { rows } = await client.query<{ pages: string }>(
    `SELECT (pg_catalog.pg_relation_size($1::oid) / pg_catalog.current_setting('block_size')::bigint)::text AS pages`,
    [side.oid],
  );
  return Number(rows[0]?.pages ?? 0);
}

/** Digests of the source's chunks: in this process where a rule's expression decides about rows, or a mask makes others of them. */
export async function digestSource(pair: TablePair, chunks: number, options: ScanOptions): Promise<ChunkDigests> {
  const { source, signal, onPages } = options;
  if (pair.filter === null && pair.masked === null) return digestTable(source, pair.source, chunks, options);
  const digests = new ChunkDigests();
  const pages = await countPages(source, pair.source);
  await eachSourceRow(source, pair, chunks, null, signal, (row) => {
    digests.add(row.chunk, { rows: 1, sum: hashNumber(row.md5) });
  });
  onPages(pages);
  return digests;
}

/** Digests of every chunk, computed in the database. */
export async function digestTable(
  client: pg.ClientBase,
  side: TableSide,
  chunks: number,
  options: ScanOptions,
): Promise<ChunkDigests> {
  const digests = new ChunkDigests();
  const pages = await countPages(client, side);
  const sql = digestSql(side, chunks);
  for (let page = 0; page === 0 || page < pages; page += PAGES_A_SCAN) {
    options.signal.throwIfAborted();
    const end = page + PAGES_A_SCAN >= pages ? LAST_PAGE : page + PAGES_A_SCAN;
    const { rows } = await client.query<{ chunk: number; rows: string; sum: string }>(sql, [
      `(${page},0)`,
      `(${end},0)`,
    ]);
    for (const row of rows) digests.add(row.chunk, { rows: Number(row.rows), sum: BigInt(row.sum) });
    options.onPages(Math.min(PAGES_A_SCAN, pages - page));
  }
  return digests;
}

/** Keys of the rows that the two snapshots have differently, found by comparing unequal chunks row by row. */
export async function findSuspects(
  pair: TablePair,
  chunks: number,
  from: ChunkDigests,
  to: ChunkDigests,
  options: ScanOptions,
): Promise<Suspects> {
  const groups = groupChunks(from.unequal(to), (chunk) => from.rowsOf(chunk) + to.rowsOf(chunk), ROWS_IN_HAND);
  const keys: SuspectKey[] = [];
  for (const [index, group] of groups.entries()) {
    if (keys.length >= MOST_SUSPECTS) return { keys, chunksLeft: groups.slice(index).flat().length };
    keys.push(...(await compareChunks(pair, chunks, group, options)));
  }
  return { keys, chunksLeft: 0 };
}

async function compareChunks(
  pair: TablePair,
  chunks: number,
  group: readonly number[],
  options: ScanOptions,
): Promise<SuspectKey[]> {
  const { source, target, signal } = options;
  /** What the source has more of: by identity its md5, by md5 how many. */
  const left = new Map<string, { key: SuspectKey; md5: string; count: number }>();
  const suspects: SuspectKey[] = [];
  await eachSourceRow(source, pair, chunks, group, signal, (row) => {
    const key = row.key ?? [row.md5];
    const known = left.get(JSON.stringify(key));
    if (known === undefined) left.set(JSON.stringify(key), { key, md5: row.md5, count: 1 });
    else known.count += 1;
  });
  await eachRow(target, rowsSql(pair.target, chunks, null, false), group, signal, (row) => {
    const key = row.key ?? [row.md5];
    const id = JSON.stringify(key);
    const known = left.get(id);
    if (known === undefined || known.md5 !== row.md5) suspects.push(key);
    if (known === undefined) return;
    known.count -= 1;
    if (known.count === 0) left.delete(id);
  });
  suspects.push(...[...left.values()].map(({ key }) => key));
  return unique(suspects);
}

function unique(keys: readonly SuspectKey[]): SuspectKey[] {
  return [...new Map(keys.map((key) => [JSON.stringify(key), key])).values()];
}

interface ScannedRow {
  readonly chunk: number;
  readonly md5: string;
  readonly key: readonly string[] | null;
  readonly filter?: (string | null)[] | null;
}

/** Rows of the source that the rules let pass, as they are expected at the target. `chunks` null: all. */
async function eachSourceRow(
  client: pg.ClientBase,
  { source, filter, masked }: TablePair,
  chunkCount: number,
  chunks: readonly number[] | null,
  signal: AbortSignal,
  take: (row: ScannedRow) => void,
): Promise<void> {
  if (masked === null) {
    await eachRow(client, rowsSql(source, chunkCount, filter, chunks === null), chunks, signal, (row) => {
      if (filter === null || filter.passes(row.filter ?? [])) take(row);
    });
    return;
  }
  const wanted = chunks === null ? null : new Set(chunks);
  const sql = `SELECT ${masked.texts} AS texts FROM ${source.sql}`;
  await eachFetched<{ texts: (string | null)[] }>(client, sql, [], signal, ({ texts }) => {
    const row = masked.expect(texts);
    const chunk = row?.chunkOf(chunkCount) ?? 0;
    if (row !== null && wanted?.has(chunk) !== false) take({ chunk, md5: row.md5, key: row.key });
  });
}

/** `chunks`: $1 of the query, null when it has none. */
async function eachRow(
  client: pg.ClientBase,
  sql: string,
  chunks: readonly number[] | null,
  signal: AbortSignal,
  take: (row: ScannedRow) => void,
): Promise<void> {
  await eachFetched<ScannedRow>(client, sql, chunks === null ? [] : [chunks], signal, take);
}
