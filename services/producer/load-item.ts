import type { KeptSnapshot } from '#adapters/postgres/source/kept-snapshot.ts';
import type { TablePiece } from '#adapters/postgres/source/snapshot-reader.ts';
import type { BoundedQueue } from '#core/bounded-queue.ts';
import type { PartitionRecords } from '#core/epoch-writer.ts';
import type { Lsn } from '#core/lsn.ts';
import type { TableStructure } from '#core/structure.ts';

/** What the initial load asks the publisher to write, in order; small ones share a Kafka transaction. `onWritten`: once that is committed. */
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

/** So many small items take as much room in a queue, and in a Kafka transaction, as one whole part of a chunk. */
const SMALL_ITEMS = 256;

/** Of a queue's room, where `partBytes` is what a part of a chunk has. */
export function weightOf(item: LoadItem, partBytes: number): number {
  return 1 / SMALL_ITEMS + ('data' in item ? bytesOf(item.data) / partBytes : 0);
}

function bytesOf(data: readonly PartitionRecords[]): number {
  return data.reduce((sum, { batches }) => sum + batches.reduce((some, { bytes }) => some + bytes, 0), 0);
}

type GroupedItem = Extract<LoadItem, { kind: 'chunk' | 'tableEnd' }>;

export function isGrouped(item: LoadItem | undefined): item is GroupedItem {
  return item?.kind === 'chunk' || item?.kind === 'tableEnd';
}

/**
 * Takes the items that go into the next Kafka transaction: ends of tables, and chunks of different tables that weigh no more than one part
 * together. A transaction takes tens of milliseconds, however little is in it.
 */
export function takeGroup(queue: Pick<BoundedQueue<LoadItem>, 'first' | 'take'>, partBytes: number): GroupedItem[] {
  const group: GroupedItem[] = [];
  const topics = new Set<string>();
  for (let weight = 0, next = queue.first; isGrouped(next); next = queue.first) {
    weight += weightOf(next, partBytes);
    if (group.length > 0 && (weight > 1 || (next.kind === 'chunk' && topics.has(next.table.topic)))) break;
    if (next.kind === 'chunk') topics.add(next.table.topic);
    group.push(next);
    queue.take();
  }
  return group;
}
