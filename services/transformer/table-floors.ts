import { LoadedTables } from '#core/debezium/loaded-tables.ts';
import { formatLsn, LSN_ZERO, parseLsn, type Lsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';

type Told = Pick<NonNullable<Manifest['raw']>, 'back' | 'floors'>;

/** By raw topic, the LSN below which a table's changes are in its load. */
export class TableFloors {
  readonly #isForOthers: boolean;
  readonly #snapshots = new Map<string, Lsn>();
  /** Of late loads, as long as the stream has not passed them: the next life is told. */
  readonly #late = new Map<string, Lsn>();
  readonly #loaded = new LoadedTables();

  /** `isForOthers`: for readers that know nothing of manifests, and are given what changed while a table was loaded. */
  constructor(isForOthers: boolean) {
    this.#isForOthers = isForOthers;
  }

  get all(): ReadonlyMap<string, Lsn> {
    return this.#snapshots;
  }

  readonly of = (topic: string): Lsn => this.#snapshots.get(topic) ?? LSN_ZERO;

  /** What the last shaped manifest told of late loads. */
  resume(told: Told['floors'] = []): void {
    for (const { topic, snapshot } of told) {
      this.#late.set(topic, parseLsn(snapshot));
      this.#snapshots.set(topic, parseLsn(snapshot));
    }
  }

  /** A manifest of a load, perhaps a late one. */
  note({ kind, table, load, rows = 0, snapshot }: Manifest, isLate: boolean): void {
    if (table === undefined) return;
    if (kind === 'chunk') this.#loaded.noteRows(table.topic, load, rows);
    if (kind !== 'tableEnd' || snapshot === undefined) return;
    const lsn = parseLsn(snapshot);
    this.#loaded.noteEnd(table.topic, load, lsn);
    const floor = this.#isForOthers ? this.#loaded.snapshotOf(table.topic) : lsn;
    this.#snapshots.set(table.topic, floor);
    if (isLate) this.#late.set(table.topic, floor);
  }

  /** What the next life is to be told. `back`: the announcement whose load is passed on now. */
  tell({ kind, through }: Manifest, back: bigint | null): Told {
    if (kind === 'stream' || kind === 'empty')
      for (const [topic, snapshot] of this.#late) if (snapshot <= parseLsn(through)) this.#late.delete(topic);
    const floors = [...this.#late].map(([topic, snapshot]) => ({ topic, snapshot: formatLsn(snapshot) }));
    return { ...(back === null ? {} : { back: String(back) }), ...(floors.length === 0 ? {} : { floors }) };
  }
}
