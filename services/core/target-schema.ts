import type { TableStructure } from '#core/structure.ts';
import type { TableName } from '#core/table-name.ts';

/**
 * How a target gets its tables, in the order of the initial load. Each step is journalled in the target: calling one again
 * after a crash goes on where it stopped, and a finished one does nothing.
 */
export interface TargetSchema {
  /**
   * Tables without keys, indexes, foreign keys and triggers, as the load wants them.
   * @throws RestageError schema_missing, schema_differs or target_not_empty.
   */
  preData(tables: TableStructure[]): Promise<void>;
  /** Keys, unique and other indexes, in parallel, then ANALYZE; once every chunk is loaded. */
  postLoad(): Promise<void>;
  /** Foreign keys and triggers; once the applied position has passed the newest snapshot. */
  whenCaughtUp(): Promise<void>;
  /** Whether a table that came later is made in the target; else somebody else has to. */
  readonly makesTables: boolean;
}

/** A table that came after the load, or got another name. */
export interface LateTable {
  readonly structure: TableStructure;
  /** What it is a partition of at the source, and its bounds in SQL. */
  readonly bounds?: { readonly parent: TableName; readonly sql: string };
  /** What it was called before it was renamed at the source. */
  readonly renamedFrom?: TableName;
}
