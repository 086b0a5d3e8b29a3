import type { SnapshotMarker } from '#core/debezium/table-events.ts';
import type { LoadItem } from './load-item.ts';

/** The last part of a chunk, its last row not yet written: only what comes after tells which marker that row gets. */
export interface ChunkTail {
  readonly finish: (marker: SnapshotMarker) => LoadItem;
}

type Put = (item: LoadItem) => Promise<void>;

/**
 * Debezium's snapshot markers, over chunks that are read side by side: first, first_in_data_collection, true,
 * last_in_data_collection, last. At most one tail per table being read waits, and one more of the table that ended last.
 */
export class SnapshotMarkers {
  readonly #put: Put;
  readonly #started: Set<string>;
  readonly #tails = new Map<string, ChunkTail>();
  #ended: { readonly tail: ChunkTail; readonly tableEnd: LoadItem } | null = null;

  /** `started`: tables that an earlier life wrote rows of. */
  constructor(put: Put, started: Iterable<string> = []) {
    this.#put = put;
    this.#started = new Set(started);
  }

  /** For a row as it is read, unless it turns out to be a last one. */
  start(table: string): SnapshotMarker {
    if (this.#started.has(table)) return 'true';
    const isFirst = this.#started.size === 0;
    this.#started.add(table);
    return isFirst ? 'first' : 'first_in_data_collection';
  }

  /** A chunk with rows has been read. */
  async chunkRead(table: string, tail: ChunkTail): Promise<void> {
    const before = this.#tails.get(table);
    this.#tails.set(table, tail);
    if (before !== undefined) await this.#put(before.finish('true'));
  }

  /** Every chunk of a table has been read. */
  async tableRead(table: string, tableEnd: LoadItem): Promise<void> {
    const tail = this.#tails.get(table);
    this.#tails.delete(table);
    if (tail === undefined) return this.#put(tableEnd);
    const before = this.#ended;
    this.#ended = { tail, tableEnd };
    if (before !== null) await this.#write(before, 'last_in_data_collection');
  }

  /** `isLast`: no table is taken again, so this was the last row of all. */
  async end(isLast: boolean): Promise<void> {
    const before = this.#ended;
    this.#ended = null;
    if (before !== null) await this.#write(before, isLast ? 'last' : 'last_in_data_collection');
  }

  async #write(ended: { tail: ChunkTail; tableEnd: LoadItem }, marker: SnapshotMarker): Promise<void> {
    await this.#put(ended.tail.finish(marker));
    await this.#put(ended.tableEnd);
  }
}
