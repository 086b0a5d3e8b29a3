import type pg from 'pg';
import { applyFolded } from '#adapters/postgres/target/bulk-apply.ts';
import { applyRow } from '#adapters/postgres/target/row-apply.ts';
import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { RowChange } from '#core/change.ts';
import { RestageError, type ErrorCode } from '#core/errors.ts';
import { foldChanges } from '#core/fold.ts';
import { parseLsn } from '#core/lsn.ts';
import type { ControlEntry } from '#core/manifest.ts';
import { comparePositions, type Position } from '#core/position.ts';

/** One table's changes of a part, in order. */
export interface TableChanges {
  readonly table: TargetTable;
  readonly changes: readonly RowChange[];
}

export interface Truncation {
  readonly position: Position;
  readonly tables: readonly TargetTable[];
  readonly cascade: boolean;
}

const CONSTRAINT_CLASS = '23';

/**
 * Applies one part inside the caller's transaction: cut into segments at each TRUNCATE, every segment folded and in bulk, or, where that
 * trips a constraint, once more row by row in source order.
 */
export async function applyPart(client: pg.ClientBase, tables: readonly TableChanges[], truncations: readonly Truncation[], mismatch: ErrorCode): Promise<void> {
  let rest = tables;
  for (const truncation of truncations) {
    const isBefore = (change: RowChange): boolean => comparePositions(change.position, truncation.position) < 0;
    await applySegment(client, filterChanges(rest, isBefore), mismatch);
    rest = filterChanges(rest, (change) => !isBefore(change));
    await truncate(client, truncation);
  }
  await applySegment(client, rest, mismatch);
}

export function truncationPosition(entry: Extract<ControlEntry, { kind: 'truncate' }>): Position {
  return { commit: parseLsn(entry.commit), ordinal: entry.ordinal };
}

async function applySegment(client: pg.ClientBase, tables: readonly TableChanges[], mismatch: ErrorCode): Promise<void> {
  if (tables.length === 0) return;
  await client.query('SAVEPOINT segment');
  try {
    for (const { table, changes } of tables) {
      if (table.isFoldable) await applyFolded(client, table, foldChanges(changes, table.identity), mismatch);
      else for (const change of changes) await applyRow(client, table, change, mismatch);
    }
    await client.query('SET CONSTRAINTS ALL IMMEDIATE');
    await client.query('SET CONSTRAINTS ALL DEFERRED');
  } catch (error) {
    if (!isConstraint(error)) throw error;
    await client.query('ROLLBACK TO SAVEPOINT segment');
    await applyInOrder(client, tables, mismatch);
  }
  await client.query('RELEASE SAVEPOINT segment');
}

async function applyInOrder(client: pg.ClientBase, tables: readonly TableChanges[], mismatch: ErrorCode): Promise<void> {
  const all = tables.flatMap(({ table, changes }) => changes.map((change) => ({ table, change })));
  all.sort((a, b) => comparePositions(a.change.position, b.change.position));
  try {
    for (const { table, change } of all) await applyRow(client, table, change, mismatch);
  } catch (cause) {
    if (!isConstraint(cause)) throw cause;
    throw new RestageError('target_constraint', `a change breaks a constraint of the target: ${cause instanceof Error ? cause.message : ''}`, {
      cause, where: detailOf(cause), fix: 'correct the target (somebody wrote to it, or it has constraints that the source has not); the sink goes on from here',
    });
  }
}

/** Tables truncated by one statement are truncated by one statement; sequences are not data of the stream. */
async function truncate(client: pg.ClientBase, truncation: Truncation): Promise<void> {
  if (truncation.tables.length === 0) return;
  const cascade = truncation.cascade ? ' CASCADE' : '';
  await client.query(`TRUNCATE ${truncation.tables.map((table) => table.sql).join(', ')}${cascade}`);
}

function filterChanges(tables: readonly TableChanges[], keep: (change: RowChange) => boolean): TableChanges[] {
  return tables.map(({ table, changes }) => ({ table, changes: changes.filter(keep) })).filter(({ changes }) => changes.length > 0);
}

function isConstraint(error: unknown): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.startsWith(CONSTRAINT_CLASS);
}

function detailOf(error: unknown): string {
  if (typeof error !== 'object' || error === null) return '';
  const table = 'table' in error ? String(error.table) : '';
  const constraint = 'constraint' in error ? String(error.constraint) : '';
  return `table ${table}, constraint ${constraint}`;
}
