import { chunkCount, ChunkDigests, groupChunks } from '#core/verify/chunk-digests.ts';
import type { RowDifference, RowKey, TableReport } from '#core/verify/verify-report.ts';
import { ExpectedRows, type ExpectedOptions } from './expected-rows.ts';
import { eachFetched } from './row-cursor.ts';
import { countPages, digestTable, MOST_SUSPECTS } from './scan-tables.ts';
import { openSourceLookUps } from './source-look-ups.ts';
import { emptyReport, type ShapedTable } from './shaped-table.ts';
import { isSameFile } from './table-side.ts';
import { digestOf, HASH_DIGITS, hashedRowsSql } from './table-sql.ts';

/** So many column hashes are in hand at once, at most (invariant 6): about 32 MB. */
const COLUMNS_IN_HAND = 2_000_000;

interface DigestRow {
  readonly chunk: number;
  readonly rows: string;
  readonly sum: string;
}

interface HashedRow {
  readonly md5: string;
  readonly key: string[] | null;
  readonly columns: string;
}

/**
 * Compares a table with what the rules make of the source's rows, in two snapshots of one LSN. First digests of chunks of both; then the
 * rows of unequal chunks, for which the source is read once more.
 */
export async function compareShaped(table: ShapedTable, options: ExpectedOptions): Promise<TableReport> {
  await using lookUps = await openSourceLookUps(table.lookedUp, options.source, options.signal);
  const expected = new ExpectedRows(table, options, lookUps.read);
  const chunks = chunkCount(await estimateRows(table, options));
  const from = new ChunkDigests();
  await expected.each(digestOf(expected.side, chunks, 'true'), [], (row) => {
    const { chunk, rows, sum } = row as DigestRow;
    from.add(chunk, { rows: Number(rows), sum: BigInt(sum) });
  });
  const to = await digestTable(options.target, table.target, chunks, { ...options, onPages: () => undefined });
  const rowsInHand = Math.max(1, Math.floor(COLUMNS_IN_HAND / Math.max(1, table.columnNames.length)));
  const groups = groupChunks(from.unequal(to), (chunk) => from.rowsOf(chunk) + to.rowsOf(chunk), rowsInHand);
  const different: RowDifference[] = [];
  let chunksLeft = 0;
  for (const [index, group] of groups.entries()) {
    if (different.length >= MOST_SUSPECTS) {
      chunksLeft = groups.slice(index).flat().length;
      break;
    }
    different.push(...(await compareRows(table, expected, chunks, group, options)));
  }
  const reason = await reasonOf(table, expected, options);
  return {
    ...emptyReport(table.sources),
    rows: from.rows,
    chunks,
    chunksLeft,
    // What was read of another file than the snapshot's says nothing.
    different: reason === null || reason.isOfRows ? different : [],
    unverified: expected.failures,
    ...(table.columnsLeft.length === 0 ? {} : { columnsLeft: table.columnsLeft }),
    ...(reason === null ? {} : { reason: reason.text }),
  };
}

async function estimateRows({ target }: ShapedTable, options: ExpectedOptions): Promise<number> {
  const { rows } = await options.target.query<{ rows: number }>(
    'SELECT greatest(reltuples, 0)::float8 AS rows FROM pg_catalog.pg_class WHERE oid = $1',
    [target.oid],
  );
  const estimate = rows[0]?.rows ?? 0;
  // A table that was never analyzed says nothing: a page has about a hundred rows.
  return estimate > 0 ? estimate : (await countPages(options.target, target)) * 100;
}

/** Why not all of the table was judged; null where it was. */
async function reasonOf(
  table: ShapedTable,
  { failuresLeft }: ExpectedRows,
  { source, target }: ExpectedOptions,
): Promise<{ readonly text: string; readonly isOfRows: boolean } | null> {
  const files = await Promise.all([
    ...table.sources.map(({ found }) => found.oid).map((oid) => isSameFile(source, oid)),
    isSameFile(target, table.target.oid),
  ]);
  if (files.includes(false)) return { text: 'a table was truncated or rewritten meanwhile', isOfRows: false };
  return failuresLeft === 0 ? null : { text: `rules failed for ${failuresLeft} more rows`, isOfRows: true };
}

async function compareRows(
  table: ShapedTable,
  expected: ExpectedRows,
  chunks: number,
  group: readonly number[],
  options: ExpectedOptions,
): Promise<RowDifference[]> {
  /** What is expected and not found yet; rows of one key are told apart by their md5. */
  const left = new Map<string, HashedRow[]>();
  const idOf = ({ key, md5 }: HashedRow): string => JSON.stringify(key ?? [md5]);
  const count = expected.side.columns.length;
  await expected.each(hashedRowsSql(expected.side, chunks, `$${count + 1}`), [group], (found) => {
    const row = found as HashedRow;
    const known = left.get(idOf(row));
    if (known === undefined) left.set(idOf(row), [row]);
    else known.push(row);
  });
  const different: RowDifference[] = [];
  const isKeyless = table.keyNames.length === 0;
  const sql = hashedRowsSql(table.target, chunks, '$1');
  await eachFetched<HashedRow>(options.target, sql, [group], options.signal, (row) => {
    const id = idOf(row);
    const known = left.get(id) ?? [];
    const same = known.findIndex(({ md5 }) => md5 === row.md5);
    const [taken] = known.splice(Math.max(0, same), 1);
    if (known.length === 0) left.delete(id);
    if (taken === undefined) different.push({ key: nameKey(table, row), kind: 'extra', columns: [] });
    else if (same < 0)
      different.push({ key: nameKey(table, row), kind: 'changed', columns: differing(table, taken, row) });
  });
  for (const rows of left.values())
    for (const row of rows) different.push({ key: nameKey(table, row), kind: 'missing', columns: [] });
  return isKeyless ? uniqueRows(different) : different;
}

function differing(table: ShapedTable, left: HashedRow, right: HashedRow): string[] {
  const at = ({ columns }: HashedRow, index: number): string =>
    columns.slice(index * HASH_DIGITS, (index + 1) * HASH_DIGITS);
  return table.columnNames.filter((_, index) => at(left, index) !== at(right, index));
}

function nameKey({ keyNames }: ShapedTable, { key, md5 }: HashedRow): RowKey {
  if (key === null) return { row: md5 };
  return Object.fromEntries(keyNames.map((name, index) => [name, key[index] ?? '']));
}

/** Equal rows of a table without identity are one difference. */
function uniqueRows(different: readonly RowDifference[]): RowDifference[] {
  return [...new Map(different.map((row) => [`${row.kind} ${row.key['row'] ?? ''}`, row])).values()];
}
