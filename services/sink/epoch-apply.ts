import type pg from 'pg';
import { alterTable } from '#adapters/postgres/target/alter-table.ts';
import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { RowChange } from '#core/change.ts';
import { sqlStateOf } from '#core/error-policy.ts';
import { RestageError, type ErrorCode } from '#core/errors.ts';
import { formatLsn, parseLsn } from '#core/lsn.ts';
import { comparePositions, type Position } from '#core/position.ts';
import type { ColumnChange } from '#core/structure-change.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable } from '#core/table-name.ts';
import type { StructureChanges } from './part-reader.ts';
import { isRefusal, refusalError } from './refusal.ts';
import { applySegment, rankOf, type TableChanges, type TableRanks } from './segment-apply.ts';

/** What cuts a part into segments: it happens after the changes before its position, and before all others. */
export type Cut = Truncation | Alteration;

interface Truncation {
  readonly kind: 'truncate';
  readonly position: Position;
  readonly tables: readonly TargetTable[];
  /** Some of the statement's tables are left out: their snapshots were taken after it. */
  readonly isPartial: boolean;
}

interface Alteration {
  readonly kind: 'alter';
  readonly position: Position;
  readonly to: TableStructure;
  readonly changes: readonly ColumnChange[];
}

export interface PartTools {
  /** The target's tables for these changes, as they are at this moment of the transaction. */
  readonly match: (groups: readonly StructureChanges[]) => Promise<TableChanges[]>;
  /** Called after an alteration: what was read of the target's catalog is out of date. */
  readonly forget: () => void;
  readonly mismatch: ErrorCode;
  /** Where foreign keys of the target are checked; null in a session that is a replica's. */
  readonly ranks: TableRanks | null;
}

const REFERENCED = '0A000';

/**
 * Applies one part inside the caller's transaction, segment by segment.
 * @throws RestageError target_constraint, target_value, target_refused, ddl_unsupported, or `mismatch` where the target does not hold the rows that changed.
 */
export async function applyPart(
  client: pg.ClientBase,
  groups: readonly StructureChanges[],
  cuts: readonly Cut[],
  tools: PartTools,
): Promise<void> {
  const { match, forget, mismatch, ranks } = tools;
  let rest = groups;
  for (const cut of cuts) {
    const isBefore = (change: RowChange): boolean => comparePositions(change.position, cut.position) < 0;
    await applySegment(client, await match(filterChanges(rest, isBefore)), mismatch, ranks);
    rest = filterChanges(rest, (change) => !isBefore(change));
    if (cut.kind === 'truncate') await truncate(client, cut, ranks);
    else {
      await alterTable(client, cut.to, cut.changes, `LSN ${formatLsn(cut.position.commit)}`);
      forget();
    }
  }
  await applySegment(client, await match(rest), mismatch, ranks);
}

export function positionOf(entry: { readonly commit: string; readonly ordinal: number }): Position {
  return { commit: parseLsn(entry.commit), ordinal: entry.ordinal };
}

/** Before COMMIT: what was put off is checked where its error can still be told. @throws RestageError target_constraint. */
export async function settleConstraints(client: pg.ClientBase): Promise<void> {
  try {
    await client.query('SET CONSTRAINTS ALL IMMEDIATE');
  } catch (error) {
    throw isRefusal(error) ? refusalError(error, 'at the end of the epoch') : error;
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
    if (sqlStateOf(error) !== REFERENCED) throw error;
    throw new RestageError('target_constraint', 'the source truncated tables that others of the target refer to', {
      cause: error,
      where: tables.map((table) => formatTable(table.structure)).join(', '),
      fix: 'drop the foreign keys that refer to them from tables outside this pipeline, or empty those tables by hand',
    });
  }
}

function filterChanges(groups: readonly StructureChanges[], keep: (change: RowChange) => boolean): StructureChanges[] {
  return groups
    .map((group) => ({ ...group, changes: group.changes.filter(keep) }))
    .filter(({ changes }) => changes.length > 0);
}
