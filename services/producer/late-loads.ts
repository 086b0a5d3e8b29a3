import type { PartitionBounds } from '#adapters/postgres/source/partition-bounds.ts';
import type { PartitionRecords } from '#core/epoch-writer.ts';
import type { Manifest } from '#core/manifest.ts';
import { pause } from '#core/backoff.ts';
import { LSN_ZERO, maxLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import { Notifier } from '#core/notifier.ts';
import type { TableStructure } from '#core/structure.ts';
import { tableKey, type TableName } from '#core/table-name.ts';

/** Tables that are to be loaded while the stream goes on, and the requests that this serves. */
export interface Announcement {
  readonly tables: readonly TableStructure[];
  readonly requests: readonly string[];
  /** Structures of tables that readers do not know yet. */
  readonly data: readonly PartitionRecords[];
}

const WAIT_MS = 50;

/**
 * Late loads between those who want them, the publisher, which announces one where every epoch before it is older than any snapshot to
 * come, and the loop that then takes the snapshot. One at a time.
 */
export class LateLoads {
  /** Notified when something was announced. */
  readonly changed = new Notifier();
  readonly #onWanted: () => void;
  readonly #files = new Map<string, string | null>();
  #bounds: ReadonlyMap<string, PartitionBounds> = new Map();
  #renamed: ReadonlyMap<string, TableName> = new Map();
  readonly #floors: () => NonNullable<Manifest['floors']>;
  /** By topic, of loads that are announced or about to be: the snapshot's LSN, null until it is taken. */
  readonly #open = new Map<string, { readonly snapshot: Lsn | null; readonly isAnnounced: boolean }>();
  #wanted: Announcement | null = null;
  #announced: Announcement | null = null;

  /** `onWanted` wakes the publisher. `floors`: of the last manifest. */
  constructor(onWanted: () => void, floors: () => NonNullable<Manifest['floors']> = () => []) {
    this.#onWanted = onWanted;
    this.#floors = floors;
  }

  /**
   * Whether another load of a table has what committed at this LSN, with the table's file as that load found it; null where none has.
   * Waits for a load that is announced and has no snapshot yet: it may be on either side.
   */
  async coverOf(topic: string, commit: Lsn, signal: AbortSignal): Promise<{ readonly fileNode: string | null } | null> {
    while (this.#open.get(topic)?.snapshot === null && !signal.aborted) await pause(WAIT_MS, signal);
    const floor = this.#floors().find((one) => one.topic === topic);
    const snapshot = maxLsn(
      this.#open.get(topic)?.snapshot ?? LSN_ZERO,
      floor === undefined ? LSN_ZERO : parseLsn(floor.snapshot),
    );
    if (snapshot <= commit) return null;
    return { fileNode: this.#files.get(topic) ?? floor?.fileNode ?? null };
  }

  /** A snapshot of these topics will be taken; `isAnnounced` false: it waits among the stream's parts to be announced. */
  noteOpen(topics: readonly string[], isAnnounced: boolean): void {
    for (const topic of topics) this.#open.set(topic, { snapshot: null, isAnnounced });
  }

  /** It is taken. */
  noteSnapshot(topics: readonly string[], snapshot: Lsn): void {
    for (const topic of topics) this.#open.set(topic, { snapshot, isAnnounced: true });
  }

  /** The load has ended: no snapshot comes for what it left out. */
  noteEnd(): void {
    for (const [topic, { snapshot, isAnnounced }] of this.#open)
      if (snapshot === null && isAnnounced) this.#open.delete(topic);
  }

  /** What the publisher is to announce at the next end of an epoch at which no other load is open. */
  get wanted(): Announcement | null {
    return this.#wanted;
  }

  /** Replaces what was wanted before; nothing while an announcement is still to be served. */
  want(announcement: Announcement | null): void {
    if (this.#announced !== null) return;
    this.#wanted = announcement;
    if (announcement !== null) this.#onWanted();
  }

  /** Kafka has it. */
  noteAnnounced(announcement: Announcement): void {
    this.#wanted = null;
    this.#announced = announcement;
    this.noteOpen(
      announcement.tables.map(({ topic }) => topic),
      true,
    );
    this.changed.notify();
  }

  /** The announcement that is to be served now. */
  takeAnnounced(): Announcement | null {
    const announced = this.#announced;
    this.#announced = null;
    return announced;
  }

  /** Of the tables that are partitions, by tableKey. */
  noteBounds(bounds: ReadonlyMap<string, PartitionBounds>): void {
    this.#bounds = bounds;
  }

  /** By tableKey, the names that tables had before. */
  noteRenamed(names: ReadonlyMap<string, TableName>): void {
    this.#renamed = names;
  }

  nameBefore(table: TableName): TableName | null {
    return this.#renamed.get(tableKey(table)) ?? null;
  }

  boundsOf(table: TableName): PartitionBounds | null {
    return this.#bounds.get(tableKey(table)) ?? null;
  }

  /** The file of a table (pg_class.relfilenode) as its load found it. */
  noteFile(topic: string, fileNode: string | null): void {
    this.#files.set(topic, fileNode);
  }

  fileOf(topic: string): string | null {
    return this.#files.get(topic) ?? null;
  }
}

/** A load that was announced and has not ended. */
export function isLateOpen(last: Manifest | null): boolean {
  return last !== null && last.loaded !== true && last.late !== undefined;
}
