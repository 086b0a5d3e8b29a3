import type pg from 'pg';
import { parseLsn, type Lsn } from '#core/lsn.ts';
import type { Judgement, RowVersion } from '#core/verify/row-case.ts';
import type { RowDifference, RowKey } from '#core/verify/verify-report.ts';
import type { SuspectKey } from './row-cursor.ts';
import type { TablePair } from './table-pair.ts';
import { readMaskedVersions } from './masked-versions.ts';
import { countSql, lookUpSql } from './table-sql.ts';

/** An LSN that the same statement reads: `sql` is handed the parameter of its first value, `$3`. */
export interface PositionSql {
  readonly sql: (parameter: string) => string;
  readonly values: readonly string[];
  /** The session is in a snapshot already. */
  readonly isHeld?: boolean;
}

export interface Reading {
  /** In the order of the keys; null where the side has no such row. */
  readonly versions: readonly (RowVersion | null)[];
  readonly position: Lsn | null;
}

/** Rows of one side by their keys, and a position, in one statement and so in one snapshot. */
export async function readVersions(
  client: pg.ClientBase,
  pair: TablePair,
  which: 'source' | 'target',
  keys: readonly SuspectKey[],
  position: PositionSql,
): Promise<Reading> {
  if (which === 'source' && pair.masked !== null) return readMaskedVersions(client, pair, pair.masked, keys, position);
  const side = pair[which];
  const filter = which === 'source' ? pair.filter : null;
  const width = Math.max(1, pair.keyNames.length);
  const positionSql = position.sql(`$${width + 1}`);
  const { rows } = await client.query<ReadRow>({
    name: `verify_${side.oid}`,
    text: side.key.length === 0 ? countSql(side, filter, positionSql) : lookUpSql(side, filter, positionSql),
    values: [...Array.from({ length: width }, (_, column) => keys.map((key) => key[column] ?? '')), ...position.values],
  });
  const versions: (RowVersion | null)[] = keys.map(() => null);
  for (const row of rows) {
    if (row.xmin === null || (filter !== null && !filter.passes(row.filter ?? []))) continue;
    versions[row.n - 1] = addVersions(versions[row.n - 1] ?? null, { xmin: row.xmin, hashes: row.hashes });
  }
  const [first] = rows;
  return { versions, position: first === undefined || first.position === null ? null : parseLsn(first.position) };
}

/** A judgement for a report: key and columns by their names at the target. */
export function describeDifference(
  pair: TablePair,
  key: SuspectKey,
  judgement: Extract<Judgement, { is: 'different' }>,
  source: RowVersion | null,
  target: RowVersion | null,
): RowDifference {
  if (pair.keyNames.length === 0) {
    const isFewer = Number(target?.hashes[0] ?? 0) < Number(source?.hashes[0] ?? 0);
    return { key: nameKey(pair, key), kind: isFewer ? 'missing' : 'extra', columns: [] };
  }
  return {
    key: nameKey(pair, key),
    kind: judgement.kind,
    columns: judgement.columns.map((column) => pair.columnNames[column] ?? ''),
  };
}

export function nameKey(pair: TablePair, key: SuspectKey): RowKey {
  const names = pair.keyNames.length === 0 ? ['row'] : pair.keyNames;
  return Object.fromEntries(names.map((name, index) => [name, key[index] ?? '']));
}

interface ReadRow {
  readonly position: string | null;
  readonly n: number;
  readonly xmin: string | null;
  readonly hashes: string[];
  readonly filter: (string | null)[] | null;
}

/** Groups of equal rows of a table without identity are one: their writers together, their numbers added. */
function addVersions(known: RowVersion | null, more: RowVersion): RowVersion {
  if (known === null) return more;
  return { xmin: `${known.xmin} ${more.xmin}`, hashes: [String(Number(known.hashes[0]) + Number(more.hashes[0]))] };
}
