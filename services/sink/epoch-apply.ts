import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { RowChange } from '#core/change.ts';
import type { ErrorCode } from '#core/errors.ts';
import { formatLsn, parseLsn } from '#core/lsn.ts';
import { comparePositions, type Position } from '#core/position.ts';
import type { ColumnChange, ColumnsOf } from '#core/structure-change.ts';
import type { TableStructure } from '#core/structure.ts';
import { filterChanges, type StructureChanges } from './part-reader.ts';
import { isRefusal, refusalError } from './refusal.ts';
import type { TableChanges, TableRanks } from './segment-apply.ts';
import type { RowStore, TargetTransaction } from './target.ts';

/** What cuts a part into segments: it happens after the changes before its position, and before all others. */
export type Cut = Truncation | Alteration;

/** What a TRUNCATE of the source takes away here. */
export interface Truncated {
  readonly tables: readonly TargetTable[];
  /** Some of the statement's tables are left out: their snapshots were taken after it. */
  readonly isPartial: boolean;
  /** Only the rows of the one table that have this value. */
  readonly only?: { readonly column: string; readonly value: string };
}

interface Truncation extends Truncated {
  readonly kind: 'truncate';
  readonly position: Position;
}

interface Alteration {
  readonly kind: 'alter';
  readonly position: Position;
  readonly to: TableStructure;
  readonly changes: readonly ColumnChange[];
  readonly columnsOf: ColumnsOf | null;
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

/**
 * Applies one part inside the caller's transaction, segment by segment.
 * @throws RestageError target_constraint, target_value, target_refused, ddl_unsupported, or `mismatch` where the target does not hold the rows that changed.
 */
export async function applyPart(
  rows: Pick<RowStore, 'apply' | 'truncate' | 'alter'>,
  groups: readonly StructureChanges[],
  cuts: readonly Cut[],
  tools: PartTools,
): Promise<void> {
  const { match, forget, mismatch, ranks } = tools;
  let rest = groups;
  for (const cut of cuts) {
    const isBefore = (change: RowChange): boolean => comparePositions(change.position, cut.position) < 0;
    await rows.apply(await match(filterChanges(rest, isBefore)), mismatch, ranks);
    rest = filterChanges(rest, (change) => !isBefore(change));
    if (cut.kind === 'truncate') await rows.truncate(cut, ranks);
    else {
      await rows.alter(cut.to, cut.changes, `LSN ${formatLsn(cut.position.commit)}`, cut.columnsOf);
      forget();
    }
  }
  await rows.apply(await match(rest), mismatch, ranks);
}

export function positionOf(entry: { readonly commit: string; readonly ordinal: number }): Position {
  return { commit: parseLsn(entry.commit), ordinal: entry.ordinal };
}

/** Before COMMIT: what was put off is checked where its error can still be told. @throws RestageError target_constraint. */
export async function settleConstraints(transaction: Pick<TargetTransaction, 'settle'>): Promise<void> {
  try {
    await transaction.settle();
  } catch (error) {
    throw isRefusal(error) ? refusalError(error, 'at the end of the epoch') : error;
  }
}
