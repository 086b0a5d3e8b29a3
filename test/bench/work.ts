import type { BenchOptions } from './bench-case.ts';

/** How much of it. */
export type WorkSize = Pick<BenchOptions, 'scale' | 'transactions'>;

/** What a benchmark moves: tables with rows, then a backlog of changes of them. */
export interface Work {
  readonly name: string;
  /** A rule for a transformer, as YAML, that parses and writes anew every event of the largest table. */
  readonly rule: string;
  /** Rows after `fill`. */
  rows(size: WorkSize): number;
  /** Makes the tables in an empty database. */
  fill(url: string, size: WorkSize): Promise<void>;
  /** Makes a backlog; returns the changes in it and the LSN after it. */
  makeBacklog(url: string, size: WorkSize): Promise<{ changes: number; lsn: string }>;
}
