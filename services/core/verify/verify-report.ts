import type { TableName } from '#core/table-name.ts';

/** missing: the target lacks the row; extra: only the target has it; changed: both have it and values differ. */
export type DifferenceKind = 'missing' | 'extra' | 'changed';

/** The columns of the row's identity at the target and their texts; for a table without one, `row` with the row's md5. */
export type RowKey = Readonly<Record<string, string>>;

export interface RowDifference {
  readonly key: RowKey;
  readonly kind: DifferenceKind;
  /** By their names at the target. Values are never shown (invariant 8). */
  readonly columns: readonly string[];
  /** The oldest dead letter that waits at this row, where one does. */
  readonly deadLetter?: string;
}

/** A row that could not be judged: it differed, and was never seen at rest while the sink passed by. */
export interface UnverifiedRow {
  readonly key: RowKey;
  readonly reason: string;
  /** The oldest dead letter that waits at this row, where one does. */
  readonly deadLetter?: string;
}

export interface TableReport {
  /** The source's name; of a table that several are merged into the first one's. */
  readonly table: TableName;
  /** The others that are merged into it; absent for none. */
  readonly alsoFrom?: readonly TableName[];
  readonly targetTable: TableName;
  /** Rows of the source, through the rules, in the snapshot that was compared. */
  readonly rows: number;
  readonly chunks: number;
  /** Chunks left unlooked at because too many rows differed before them; 0 when every one was. */
  readonly chunksLeft: number;
  readonly different: readonly RowDifference[];
  readonly unverified: readonly UnverifiedRow[];
  /** Columns that no comparison can judge, by their names at the target: what they hold is not a function of the row. Absent for none. */
  readonly columnsLeft?: readonly string[];
  /** Why the table as a whole was not judged; absent where it was. */
  readonly reason?: string;
}

/** What `verify --json` prints. */
export interface VerifyReport {
  readonly pipeline: string;
  readonly target: string;
  readonly seconds: number;
  /** Where the target's position was when it began: a row that changes later has an event from there on. Absent where nothing was compared. */
  readonly since?: string;
  readonly tables: readonly TableReport[];
  readonly verdict: 'equal' | 'different' | 'unverified';
  /** Why nothing was compared. */
  readonly reason?: string;
}

/** equal only when nothing differs and nothing is left open. */
export function verdictOf(tables: readonly TableReport[]): VerifyReport['verdict'] {
  if (tables.some((table) => table.different.length > 0)) return 'different';
  const isOpen = ({ unverified, chunksLeft, reason }: TableReport): boolean =>
    unverified.length > 0 || chunksLeft > 0 || reason !== undefined;
  return tables.some(isOpen) ? 'unverified' : 'equal';
}
