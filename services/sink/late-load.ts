import type { LateProgress } from '#adapters/postgres/target/late-state.ts';
import type { Reshaping } from '#adapters/postgres/target/reshape-table.ts';
import type { HoldRequest } from '#core/control.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import type { Failpoints } from '#core/failpoints.ts';
import { formatLsn, LSN_ZERO, maxLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import type { Position } from '#core/position.ts';
import type { Cut } from './epoch-apply.ts';
import { filterChanges, type StructureChanges } from './part-reader.ts';
import type { StructureBook } from './structure-book.ts';
import type { TargetSession } from './target.ts';

export interface LateLoadOptions {
  readonly reader: Pick<EpochReader, 'end' | 'manifests'>;
  readonly session: TargetSession;
  readonly structures: StructureBook;
  /** Once a load was announced, before anything of it is taken: what would act on its rows goes. */
  readonly prepare: () => Promise<void>;
  /** The load's pass from this offset to its end, into shadow tables; false when aborted before. */
  readonly runPass: (from: bigint, signal: AbortSignal) => Promise<boolean>;
  readonly failpoints: Failpoints;
}

interface WaitingTable {
  readonly snapshot: Lsn;
  readonly shape: Reshaping;
}

/**
 * A late load in a target. At the announcement the stream stands still while the load's rows go into shadow tables. Then one transaction of
 * the target takes the stream from the announcement to the newest snapshot of the load: in it the tables' rows are exchanged for the
 * shadows', and of the stream only what those have not. So the target goes from one state of the source to another (invariant 4).
 */
export class LateLoad {
  readonly #options: LateLoadOptions;
  #progress: LateProgress | null = null;
  /** Emptied in the open transaction, to be filled at their snapshots: the oldest first. */
  #waiting: readonly WaitingTable[] = [];

  constructor(options: LateLoadOptions) {
    this.#options = options;
  }

  /** Reads what an earlier life left; once, before the stream goes on. */
  async open(): Promise<void> {
    this.#progress = await this.#options.session.late.read();
  }

  get isOpen(): boolean {
    return this.#progress !== null;
  }

  /** Offset of the announcement from which the stream goes on; null where no load is open. */
  get begun(): bigint | null {
    return this.#progress?.begun ?? null;
  }

  /** Changes of these topics that committed before are in their shadows. */
  floorOf(topic: string): Lsn {
    return this.#progress?.tables.get(topic)?.snapshot ?? LSN_ZERO;
  }

  /** The newest snapshot: up to there the stream is one transaction of the target. */
  get end(): Lsn {
    return [...(this.#progress?.tables.values() ?? [])].reduce(
      (newest, { snapshot }) => maxLsn(newest, snapshot ?? LSN_ZERO),
      LSN_ZERO,
    );
  }

  /** False also where a later announcement's rows were being taken when an earlier life ended: its shadows may be half there. */
  isLoaded(offset: bigint): boolean {
    const { loading, loaded } = this.#progress ?? { loading: offset, loaded: null };
    return loaded !== null && offset <= loaded && loading <= loaded;
  }

  /**
   * An announcement's rows, and those of every other one that is in Kafka for the stretch which one transaction is to take: it would be
   * begun anew at each. `onBegin`: some are taken. False when aborted before the end.
   */
  async takeAll(announced: bigint, onBegin: () => void, signal: AbortSignal): Promise<boolean> {
    for (let at: bigint | null = announced; at !== null; at = await this.#findAhead(signal)) {
      if (this.isLoaded(at)) continue;
      onBegin();
      if (!(await this.#take(at, signal))) return false;
    }
    return !signal.aborted;
  }

  /** The next announcement in the stretch whose rows are not taken yet; null for none. */
  async #findAhead(signal: AbortSignal): Promise<bigint | null> {
    const { reader } = this.#options;
    const [from, end] = [(this.begun ?? 0n) + 1n, await reader.end()];
    if (!this.isOpen || from >= end) return null;
    for await (const manifests of reader.manifests(from, signal)) {
      for (const { offset, manifest } of manifests) {
        if (manifest.kind === 'announce' && !this.isLoaded(offset)) return offset;
        if (offset + 1n >= end || (manifest.last && parseLsn(manifest.through) >= this.end)) return null;
      }
    }
    return null;
  }

  /** Takes an announcement's rows into shadow tables, between epochs. False when aborted before its end. */
  async #take(announced: bigint, signal: AbortSignal): Promise<boolean> {
    const { session, prepare, runPass, failpoints } = this.#options;
    const before = this.#progress?.loading ?? announced;
    const loading = announced > before ? announced : before;
    await session.transaction.begin('UPDATE');
    await session.late.mark('loading', loading);
    failpoints.hit('sink.announce.before');
    await session.transaction.commit();
    failpoints.hit('sink.announce.after');
    await prepare();
    if (!(await runPass(loading + 1n, signal))) return false;
    await session.transaction.begin('UPDATE');
    await session.late.mark('loaded', loading);
    failpoints.hit('sink.lateLoaded.before');
    await session.transaction.commit();
    failpoints.hit('sink.lateLoaded.after');
    await this.open();
    return true;
  }

  /** @throws RestageError replay_refused where a bound lies in what the target takes as one step: from the announcement to `end`. */
  requireReachable(asked: HoldRequest | null, through: Lsn): void {
    if (asked?.isBound !== true || asked.lsn === null || asked.lsn >= this.end) return;
    const [from, to] = [formatLsn(through), formatLsn(this.end)];
    throw new RestageError('replay_refused', 'tables were loaded again around --until, and have no state in between', {
      where: `the target stands at ${from}, where the load was announced; its newest snapshot is ${to}`,
      fix: `restage replay again, with --until ${to} or later`,
    });
  }

  /** Each table's rows for its shadow's; first in the transaction that the stream goes on in. */
  async exchange(): Promise<void> {
    const { session, structures } = this.#options;
    const tables = [...(this.#progress?.tables ?? [])].flatMap(([topic, { version, snapshot }]): WaitingTable[] => {
      if (snapshot === null) return [];
      const to = structures.structure(topic, version);
      const where = `snapshot at LSN ${formatLsn(snapshot)}`;
      return [{ snapshot, shape: { to, earlier: structures.all(topic), where } }];
    });
    const waiting = new Set(await session.shadows.exchange(tables.map(({ shape }) => shape)));
    this.#waiting = tables
      .filter(({ shape }) => waiting.has(shape))
      .toSorted((a, b) => (a.snapshot < b.snapshot ? -1 : 1));
    structures.forgetTables();
  }

  /** Applies changes in that transaction; a table that waits is filled after all that committed before its snapshot. */
  async applyAround(
    groups: readonly StructureChanges[],
    cuts: readonly Cut[],
    apply: (groups: readonly StructureChanges[], cuts: readonly Cut[]) => Promise<void>,
  ): Promise<void> {
    const [next] = this.#waiting;
    const isAfter = ({ position }: { readonly position: Position }): boolean =>
      next !== undefined && position.commit >= next.snapshot;
    const isReached = cuts.some(isAfter) || groups.some(({ changes }) => changes.some(isAfter));
    if (next === undefined || !isReached) return apply(groups, cuts);
    await apply(
      filterChanges(groups, (change) => !isAfter(change)),
      cuts.filter((cut) => !isAfter(cut)),
    );
    await this.#fill(next);
    return this.applyAround(filterChanges(groups, isAfter), cuts.filter(isAfter), apply);
  }

  /** All that still wait: the stream is past their snapshots. */
  async fillRest(): Promise<void> {
    for (let [next] = this.#waiting; next !== undefined; [next] = this.#waiting) await this.#fill(next);
  }

  async #fill(table: WaitingTable): Promise<void> {
    const { session, structures } = this.#options;
    this.#waiting = this.#waiting.filter((one) => one !== table);
    await session.shadows.fill(table.shape);
    structures.forgetTables();
  }

  /** In the transaction that moves the position past `end`. */
  async finish(): Promise<void> {
    const { session } = this.#options;
    for (const topic of this.#progress?.tables.keys() ?? []) await session.shadows.drop(topic);
    await session.late.finish();
  }

  /** That transaction is committed. */
  forget(): void {
    this.#progress = null;
  }
}
