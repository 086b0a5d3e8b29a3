import type pg from 'pg';
import { applyFolded, insertRows } from '#adapters/postgres/target/bulk-apply.ts';
import { applyRow } from '#adapters/postgres/target/row-apply.ts';
import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { Image, RowChange } from '#core/change.ts';
import { RestageError, type ErrorCode } from '#core/errors.ts';
import { foldChanges } from '#core/fold.ts';
import { formatLsn, parseLsn } from '#core/lsn.ts';
import type { ControlEntry } from '#core/manifest.ts';
import { comparePositions, type Position } from '#core/position.ts';
import { formatTable } from '#core/table-name.ts';

/** One table's changes of a part, in order. */
export interface TableChanges {
  readonly table: TargetTable;
  readonly changes: readonly RowChange[];
}

export interface Truncation {
  readonly position: Position;
  readonly tables: readonly TargetTable[];
  /** Some of the statement's tables are left out: their snapshots were taken after it. */
  readonly isPartial: boolean;
}

const CONSTRAINT_CLASS = '23';
const REFERENCED = '0A000';

/**
 * Applies one part inside the caller's transaction: cut into segments at each TRUNCATE, every segment folded and in bulk, or, where that
 * trips a constraint or misses a row, once more row by row in source order.
 * @throws RestageError target_constraint, or `mismatch` where the target does not hold the rows that changed.
 */
export async function applyPart(
  client: pg.ClientBase,
  tables: readonly TableChanges[],
  truncations: readonly Truncation[],
  mismatch: ErrorCode,
): Promise<void> {
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

async function applySegment(
  client: pg.ClientBase,
  tables: readonly TableChanges[],
  mismatch: ErrorCode,
): Promise<void> {
  if (tables.length === 0) return;
  await client.query('SAVEPOINT segment');
  try {
    for (const { table, changes } of tables) {
      if (table.isFoldable) await applyFolded(client, table, foldChanges(changes, table.identity), mismatch);
      else await applyUnfolded(client, table, changes, mismatch);
    }
    await client.query('SET CONSTRAINTS ALL IMMEDIATE');
    await client.query('SET CONSTRAINTS ALL DEFERRED');
  } catch (error) {
    if (!isConstraint(error) && !(error instanceof RestageError && error.code === mismatch)) throw error;
    await client.query('ROLLBACK TO SAVEPOINT segment');
    await applyInOrder(client, tables, mismatch);
  }
  await client.query('RELEASE SAVEPOINT segment');
}

/** In the source's order; inserts that nothing stands between go together, unless a trigger watches. */
async function applyUnfolded(
  client: pg.ClientBase,
  table: TargetTable,
  changes: readonly RowChange[],
  mismatch: ErrorCode,
): Promise<void> {
  let inserts: Image[] = [];
  for (const change of changes) {
    if (change.kind === 'insert' && !table.isWatched) {
      inserts.push(change.after);
      continue;
    }
    await insertRows(client, table, inserts);
    inserts = [];
    await applyRow(client, table, change, mismatch);
  }
  await insertRows(client, table, inserts);
}

/** The reference: what each change says, one after another. Finds the one that the target refuses, and its key. */
async function applyInOrder(
  client: pg.ClientBase,
  tables: readonly TableChanges[],
  mismatch: ErrorCode,
): Promise<void> {
  const all = tables.flatMap(({ table, changes }) => changes.map((change) => ({ table, change })));
  all.sort((a, b) => comparePositions(a.change.position, b.change.position));
  for (const { table, change } of all) {
    try {
      await applyRow(client, table, change, mismatch);
    } catch (error) {
      throw isConstraint(error) ? constraintError(error, describeChange(table, change)) : error;
    }
  }
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
async function truncate(client: pg.ClientBase, { tables, isPartial }: Truncation): Promise<void> {
  if (isPartial) {
    for (const table of tables) await client.query(`DELETE FROM ${table.only}`);
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

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

function isConstraint(error: unknown): boolean {
  return codeOf(error).startsWith(CONSTRAINT_CLASS);
}

function constraintError(cause: unknown, where: string): RestageError {
  const constraint =
    typeof cause === 'object' && cause !== null && 'constraint' in cause
      ? `constraint ${String(cause.constraint)}, `
      : '';
  return new RestageError(
    'target_constraint',
    `a change breaks a constraint of the target: ${cause instanceof Error ? cause.message : ''}`,
    {
      cause,
      where: `${constraint}${where}`,
      fix: 'correct the target (somebody wrote to it, or it has constraints that the source has not); the sink goes on from here',
    },
  );
}

/** Table, key and position; never other values (invariant 8). */
function describeChange({ structure, identity }: TargetTable, change: RowChange): string {
  const image = change.kind === 'insert' ? change.after : change.key;
  const key = identity.map((name) => `${name}=${image.get(name) ?? 'NULL'}`).join(', ');
  return `table ${formatTable(structure)}, ${change.kind}${key === '' ? '' : ` of ${key}`}, LSN ${formatLsn(change.position.commit)}, ordinal ${change.position.ordinal}`;
}
