import type { PartitionRecords } from '#core/epoch-writer.ts';
import type { Lsn } from '#core/lsn.ts';
import type { TableStructure } from '#core/structure.ts';

/** What the initial load asks the publisher to write, in order; each is one Kafka transaction. */
export type LoadItem =
  | {
      readonly kind: 'plan';
      readonly load: number;
      readonly snapshot: Lsn;
      readonly tables: readonly PlannedTable[];
      readonly data: readonly PartitionRecords[];
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
  | { readonly kind: 'end'; readonly load: number };

export interface PlannedTable {
  readonly structure: TableStructure;
  readonly chunks: number;
  /** The planner's estimate, for progress. */
  readonly rows: number;
}
