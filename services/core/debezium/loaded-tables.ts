import { LSN_ZERO, type Lsn } from '#core/lsn.ts';

/**
 * What of the stream a reader that knows no manifests may be spared: changes that a table's snapshot has already. Not where rows of
 * an earlier snapshot were written too: one that was deleted in between would stay with that reader for ever.
 */
export class LoadedTables {
  readonly #firstRows = new Map<string, number>();
  readonly #snapshots = new Map<string, Lsn>();

  /** Rows of a table are written in this load. */
  noteRows(topic: string, load: number, rows: number): void {
    if (rows > 0 && !this.#firstRows.has(topic)) this.#firstRows.set(topic, load);
  }

  /** A table is loaded under a snapshot of this LSN. */
  noteEnd(topic: string, load: number, snapshot: Lsn): void {
    const isAgain = (this.#firstRows.get(topic) ?? load) !== load;
    this.#snapshots.set(topic, isAgain ? LSN_ZERO : snapshot);
  }

  /** What committed before is spared. */
  snapshotOf(topic: string): Lsn {
    return this.#snapshots.get(topic) ?? LSN_ZERO;
  }
}
