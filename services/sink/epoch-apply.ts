import type pg from 'pg';
import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { RowChange } from '#core/change.ts';
import { RestageError, type ErrorCode } from '#core/errors.ts';
import { parseLsn } from '#core/lsn.ts';
import type { ControlEntry } from '#core/manifest.ts';
import { comparePositions, type Position } from '#core/position.ts';
import { formatTable } from '#core/table-name.ts';
import { codeOf, constraintError, isConstraint } from './constraint-error.ts';
import { applySegment, rankOf, type TableChanges, type TableRanks } from './segment-apply.ts';

export interface Truncation {
  readonly position: Position;
  readonly tables: readonly TargetTable[];
  /** Some of the statement's tables are left out: their snapshots were taken after it. */
  readonly isPartial: boolean;
}

const REFERENCED = '0A000';

/**
 * Applies one part inside the caller's transaction: cut into segments at each TRUNCATE. `ranks` where foreign keys of the target are
 * checked, null in a session that is a replica's.
 * @throws RestageError target_constraint, or `mismatch` where the target does not hold the rows that changed.
 */
export async function applyPart(
  client: pg.ClientBase,
  tables: readonly TableChanges[],
  truncations: readonly Truncation[],
  mismatch: ErrorCode,
  ranks: TableRanks | null = null,
): Promise<void> {
  let rest = tables;
  for (const truncation of truncations) {
    const isBefore = (change: RowChange): boolean => comparePositions(change.position, truncation.position) < 0;
    await applySegment(client, filterChanges(rest, isBefore), mismatch, ranks);
    rest = filterChanges(rest, (change) => !isBefore(change));
    await truncate(client, truncation, ranks);
  }
  await applySegment(client, rest, mismatch, ranks);
}

export function truncationPosition(entry: Extract<ControlEntry, { kind: 'truncate' }>): Position {
  return { commit: parseLsn(entry.commit), ordinal: entry.ordinal };
}

/** Before COMMIT: what was put off is checked where its error can still be told. @throws RestageError target_constraint. */
export async function settleConstraints(client: pg.ClientBase): Promise<void> {
  try {
    await client.query('SET CONSTRAINTS ALL IMMEDIATE');
  } catch (error) {
    throw isConstraint(error) ? constraintError(error, 'at the end of the epoch') : error;
  }
}

/**
 * Tables truncated by one statement are truncated by one statement; those that a CASCADE reached at the source are among them, and no
 * others are reached here (PostgreSQL: "Logical Replication", Restrictions). Sequences are not data of the stream.
 */
async function truncate(
  client: pg.ClientBase,
  { tables, isPartial }: Truncation,
  ranks: TableRanks | null,
): Promise<void> {
  if (isPartial) {
    for (const table of tables.toSorted((a, b) => rankOf(b, ranks) - rankOf(a, ranks)))
      await client.query(`DELETE FROM ${table.only}`);
    return;
  }
  if (tables.length === 0) return;
  try {
    await client.query(`TRUNCATE ${tables.map((table) => table.only).join(', ')}`);
  } catch (error) {
    if (codeOf(error) !== REFERENCED) throw error;
    throw new RestageError('target_constraint', 'the source truncated tables that others of the target refer to', {
      cause: error,
      where: tables.map((table) => formatTable(table.structure)).join(', '),
      fix: 'drop the foreign keys that refer to them from tables outside this pipeline, or empty those tables by hand',
    });
  }
}

function filterChanges(tables: readonly TableChanges[], keep: (change: RowChange) => boolean): TableChanges[] {
  return tables
    .map(({ table, changes }) => ({ table, changes: changes.filter(keep) }))
    .filter(({ changes }) => changes.length > 0);
}
