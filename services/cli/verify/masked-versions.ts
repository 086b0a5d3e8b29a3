import type pg from 'pg';
import { parseLsn } from '#core/lsn.ts';
import type { RowVersion } from '#core/verify/row-case.ts';
import type { ExpectedRow, MaskedSource } from './masked-source.ts';
import type { PositionSql, Reading } from './read-versions.ts';
import { eachFetched, type SuspectKey } from './row-cursor.ts';
import type { TablePair } from './table-pair.ts';
import { lookUpSql } from './table-sql.ts';

/** Source rows by the keys that they have at the target, each with its expected hashes. */
export async function readMaskedVersions(
  client: pg.ClientBase,
  pair: TablePair,
  masked: MaskedSource,
  keys: readonly SuspectKey[],
  position: PositionSql,
): Promise<Reading> {
  return pair.source.key.length === 0 || masked.isKeyMasked
    ? scanVersions(client, pair, masked, keys, position)
    : lookUpVersions(client, pair, masked, keys, position);
}

async function lookUpVersions(
  client: pg.ClientBase,
  pair: TablePair,
  masked: MaskedSource,
  keys: readonly SuspectKey[],
  position: PositionSql,
): Promise<Reading> {
  const width = pair.keyNames.length;
  const { rows } = await client.query<{
    position: string | null;
    n: number;
    xmin: string | null;
    hashes: (string | null)[];
  }>({
    name: `verify_${pair.source.oid}`,
    text: lookUpSql(pair.source, null, position.sql(`$${width + 1}`), masked.texts),
    values: [...Array.from({ length: width }, (_, column) => keys.map((key) => key[column] ?? '')), ...position.values],
  });
  const versions: (RowVersion | null)[] = keys.map(() => null);
  for (const { n, xmin, hashes } of rows) {
    const expected = xmin === null ? null : masked.expect(hashes);
    if (xmin !== null && expected !== null) versions[n - 1] = { xmin, hashes: [...expected.hashes] };
  }
  const [first] = rows;
  return { versions, position: first === undefined || first.position === null ? null : parseLsn(first.position) };
}

/** A mask cannot be undone, so where the key has one, or where there is no key, the table is read whole. */
async function scanVersions(
  client: pg.ClientBase,
  pair: TablePair,
  masked: MaskedSource,
  keys: readonly SuspectKey[],
  position: PositionSql,
): Promise<Reading> {
  const places = new Map(keys.map((key, index) => [JSON.stringify(key), index]));
  const found: { readonly xmin: string; readonly expected: ExpectedRow }[][] = keys.map(() => []);
  // The snapshot comes with the position's statement, and stays for the rows.
  if (position.isHeld !== true) await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  try {
    const text = `SELECT (${position.sql('$1')})::text AS position`;
    const [at] = (await client.query<{ position: string | null }>(text, [...position.values])).rows;
    const sql = `SELECT xmin::text AS xmin, ${masked.texts} AS texts FROM ${pair.source.sql}`;
    await eachFetched<{ xmin: string; texts: (string | null)[] }>(client, sql, [], null, ({ xmin, texts }) => {
      const expected = masked.expect(texts);
      const place = expected === null ? undefined : places.get(JSON.stringify(expected.key ?? [expected.md5]));
      if (expected !== null && place !== undefined) found[place]?.push({ xmin, expected });
    });
    const versions = found.map((rows) => versionOf(rows, pair.keyNames.length === 0));
    return { versions, position: at === undefined || at.position === null ? null : parseLsn(at.position) };
  } finally {
    if (position.isHeld !== true) await client.query('ROLLBACK');
  }
}

/** Of equal rows without identity: who wrote them, and how many they are. */
function versionOf(
  rows: readonly { readonly xmin: string; readonly expected: ExpectedRow }[],
  isCounted: boolean,
): RowVersion | null {
  const [first] = rows;
  if (first === undefined) return null;
  const xmin = rows
    .map((row) => row.xmin)
    .toSorted()
    .join(' ');
  return { xmin, hashes: isCounted ? [String(rows.length)] : [...first.expected.hashes] };
}
