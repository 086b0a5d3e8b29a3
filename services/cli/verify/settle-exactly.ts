import { compareVersions } from '#core/verify/row-case.ts';
import type { RowDifference } from '#core/verify/verify-report.ts';
import type { ExactSnapshots } from './exact-snapshots.ts';
import { describeDifference, readVersions, type PositionSql } from './read-versions.ts';
import type { SuspectKey } from './row-cursor.ts';
import type { TablePair } from './table-pair.ts';

const ROWS_A_BATCH = 500;
const NO_POSITION: PositionSql = { sql: () => 'SELECT NULL::pg_lsn', values: [], isHeld: true };

/** Rows that never rest, read on both sides as they were at one LSN: what differs there differs. */
export async function settleExactly(
  pair: TablePair,
  keys: readonly SuspectKey[],
  snapshots: Pick<ExactSnapshots, 'source' | 'target'>,
): Promise<RowDifference[]> {
  const different: RowDifference[] = [];
  for (let at = 0; at < keys.length; at += ROWS_A_BATCH) {
    const batch = keys.slice(at, at + ROWS_A_BATCH);
    const [source, target] = await Promise.all([
      readVersions(snapshots.source, pair, 'source', batch, NO_POSITION),
      readVersions(snapshots.target, pair, 'target', batch, NO_POSITION),
    ]);
    for (const [index, key] of batch.entries()) {
      const [from, to] = [source.versions[index] ?? null, target.versions[index] ?? null];
      const judgement = compareVersions(from, to);
      if (judgement.is === 'different') different.push(describeDifference(pair, key, judgement, from, to));
    }
  }
  return different;
}
