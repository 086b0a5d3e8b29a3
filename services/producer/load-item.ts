import type { KeptSnapshot } from '#adapters/postgres/source/kept-snapshot.ts';
import type { TablePiece } from '#adapters/postgres/source/snapshot-reader.ts';
import type { PartitionRecords } from '#core/epoch-writer.ts';
import type { Lsn } from '#core/lsn.ts';
import type { TableStructure } from '#core/structure.ts';

/** What the initial load asks the publisher to write, in order; each is one Kafka transaction. `onWritten`: once that is committed. */
export type LoadItem =
  | {
      readonly kind: 'plan';
      readonly load: number;
      readonly snapshot: Lsn;
      readonly kept: KeptSnapshot | null;
      readonly tables: readonly PlannedTable[];
      readonly data: readonly PartitionRecords[];
      readonly onWritten?: () => Promise<void>;
    }
  | {
      readonly kind: 'chunk';
      readonly load: number;
      readonly table: TableStructure;
      readonly chunk: number;
      readonly part: number;
      readonly last: boolean;
      readonly rows: number;
      readonly data: readonly PartitionRecords[];
    }
  | { readonly kind: 'tableEnd'; readonly load: number; readonly table: TableStructure; readonly snapshot: Lsn }
  | { readonly kind: 'end'; readonly load: number; readonly onWritten?: () => Promise<void> };

export interface PlannedTable {
  readonly structure: TableStructure;
  readonly cut: readonly TablePiece[];
  /** Of the structure that its rows have. */
  readonly version: number;
  /** The planner's estimate, for progress. */
  readonly rows: number;
}

export function chunksIn(cut: readonly TablePiece[]): number {
  return cut.reduce((sum, { chunks }) => sum + chunks, 0);
}
