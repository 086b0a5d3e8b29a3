import { once } from 'node:events';
import type pg from 'pg';
import type { TableLoad, TargetState } from '#adapters/postgres/target/target-state.ts';
import type { TargetTable } from '#adapters/postgres/target/target-table.ts';
import type { HoldGate, HoldRequest } from '#core/control.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { RestageError } from '#core/errors.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { LagMeter } from '#core/lag-meter.ts';
import { formatLsn, LSN_ZERO, maxLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import type { Manifest, StoredManifest } from '#core/manifest.ts';
import type { ServiceStatus } from '#core/status.ts';
import type { ColumnChange } from '#core/structure-change.ts';
import type { TableStructure } from '#core/structure.ts';
import { applyPart, positionOf, settleConstraints, type Cut } from './epoch-apply.ts';
import { cutPart, readPart, type ReadPart, type StructureChanges } from './part-reader.ts';
import type { StructureBook } from './structure-book.ts';
import { EpochTally } from './epoch-tally.ts';
import type { TableChanges, TableRanks } from './segment-apply.ts';

export interface StreamPassOptions {
  readonly reader: EpochReader;
  readonly structures: StructureBook;
  readonly state: TargetState;
  readonly client: pg.Client;
  readonly loads: ReadonlyMap<string, TableLoad>;
  readonly status: ServiceStatus;
  readonly lag: LagMeter;
  readonly whenRunning: () => Promise<void>;
  readonly hold: HoldGate;
  /** Adds the labels that an alteration brings, in a session of its own. */
  readonly addLabels: (table: TableStructure, changes: readonly ColumnChange[]) => Promise<void>;
  readonly clock: () => number;
  readonly failpoints: Failpoints;
  /** Called once the applied position has passed the newest snapshot. */
  readonly onCaughtUp: () => Promise<void>;
  /** Where foreign keys are checked, how the tables stand to each other now; else null. */
  readonly readRanks: () => Promise<TableRanks | null>;
  readonly isLoadDone: boolean;
}

const EMPTY_INTERVAL_MS = 10_000;

/** Where an epoch is cut, so that the sink stands at exactly this LSN; null for none. */
type Ceiling = Lsn | null;

/** The second pass: stream epochs in order, each in one target transaction with the position (invariants 2 and 4), until aborted. */
export class StreamPass {
  readonly #options: StreamPassOptions;
  readonly #newestSnapshot: Lsn;
  #isLoadDone: boolean;
  /** Of the epoch whose transaction is open. */
  #tally: EpochTally | null = null;
  /** Offset of that epoch's first part: to begin again there after a cut. */
  #epochOffset = 0n;
  /** All that committed before it is applied. */
  #through: Lsn = LSN_ZERO;
  /** Offset of the next manifest. */
  #next = 0n;
  #storedAt = 0;
  #ranks: TableRanks | null = null;

  constructor(options: StreamPassOptions) {
    this.#options = options;
    this.#isLoadDone = options.isLoadDone;
    this.#newestSnapshot = [...options.loads.values()].reduce(
      (newest, { snapshot }) => (snapshot !== null && snapshot > newest ? snapshot : newest),
      LSN_ZERO,
    );
  }

  async run(from: bigint, through: Lsn, signal: AbortSignal): Promise<void> {
    this.#next = from;
    this.#through = through;
    this.#ranks = await this.#options.readRanks();
    await this.#noteThrough(through);
    try {
      while (!signal.aborted) {
        await this.#standStill(signal);
        await this.#follow(signal);
      }
    } finally {
      if (this.#tally !== null) await this.#options.client.query('ROLLBACK').catch(() => undefined);
    }
  }

  /** While somebody asks for it, and this is the place: between epochs, or at the LSN asked for. */
  async #standStill(signal: AbortSignal): Promise<void> {
    const { hold, status } = this.#options;
    for (let asked = hold.request; asked !== null && this.#isPlaceOf(asked) && !signal.aborted; asked = hold.request) {
      const either = AbortSignal.any([signal, hold.changed]);
      status.state = 'held';
      hold.acknowledge(asked.id);
      if (!either.aborted) await once(either, 'abort');
    }
    if (status.state !== 'held') return;
    status.state = 'streaming';
    hold.acknowledge(null);
  }

  #isPlaceOf(asked: HoldRequest): boolean {
    return this.#tally === null && (asked.lsn === null || this.#through >= asked.lsn);
  }

  /** Until aborted, or until a request to hold wants a look. */
  async #follow(signal: AbortSignal): Promise<void> {
    const turn = AbortSignal.any([signal, this.#options.hold.changed]);
    for await (const manifests of this.#options.reader.manifests(this.#next, turn)) {
      if (!(await this.#takeAll(manifests, signal))) return;
    }
  }

  /**
   * While one part is applied, the next one's data is read: one ahead, never more (invariant 6). False when the rest is not to be
   * taken now.
   */
  async #takeAll(manifests: readonly StoredManifest[], signal: AbortSignal): Promise<boolean> {
    let ahead: Promise<ReadPart> | null = null;
    for (const [index, stored] of manifests.entries()) {
      this.#options.lag.see(stored.manifest);
      if (this.#tally === null) await this.#options.whenRunning();
      const asked = this.#options.hold.request;
      if (signal.aborted || (asked !== null && this.#isPlaceOf(asked))) return false;
      if (stored.manifest.kind !== 'stream') {
        if (!(await this.#pass(stored))) return false;
        this.#options.lag.reached(stored.manifest);
        continue;
      }
      const part = await (ahead ?? this.#read(stored.manifest, signal));
      if (signal.aborted) return false;
      const following = manifests[index + 1]?.manifest;
      ahead = following?.kind === 'stream' ? this.#read(following, signal) : null;
      // Its error is thrown when its turn comes; should this part fail before, nobody asks for it.
      ahead?.catch(() => undefined);
      if (!(await this.#apply(stored, part))) return false;
    }
    return true;
  }

  #read(manifest: Manifest, signal: AbortSignal): Promise<ReadPart> {
    const { reader, structures } = this.#options;
    return readPart(reader, structures, (topic) => this.#floorOf(topic), manifest, signal);
  }

  /** What committed before it is in the topic's snapshot, or was applied before the epoch was cut. */
  #floorOf(topic: string): Lsn {
    return maxLsn(this.#through, this.#options.loads.get(topic)?.snapshot ?? LSN_ZERO);
  }

  /** The LSN to stop at, where this manifest reaches it. */
  #ceilingIn(manifest: Manifest): Ceiling {
    const lsn = this.#options.hold.request?.lsn ?? null;
    if (lsn === null) return null;
    const hasLater = manifest.lastCommit !== null && parseLsn(manifest.lastCommit) >= lsn;
    return hasLater || (manifest.last && parseLsn(manifest.through) >= lsn) ? lsn : null;
  }

  /** Manifests without changes of the stream. False after a cut. */
  async #pass(stored: StoredManifest): Promise<boolean> {
    const { manifest } = stored;
    if (manifest.kind === 'empty') return this.#storeEmpty(stored);
    const isUnknown =
      manifest.tables?.some(({ topic }) => (this.#options.loads.get(topic)?.load ?? 0) < manifest.load) ?? false;
    if (manifest.kind === 'plan' && isUnknown) {
      throw new RestageError('manifest_invalid', `load ${manifest.load} begins after the initial load has ended`, {
        where: `.epochs, offset ${stored.offset}`,
        fix: 'load the tables that were added through a pipeline of their own',
      });
    }
    this.#next = stored.offset + 1n;
    return true;
  }

  /** False when the epoch was cut and is to be read again from its first part. */
  async #apply({ offset, manifest }: StoredManifest, read: ReadPart): Promise<boolean> {
    const { client, state, structures, clock, failpoints } = this.#options;
    if (this.#tally === null) {
      this.#tally = new EpochTally(clock());
      this.#epochOffset = offset;
      await client.query('BEGIN');
      await state.guard(client, 'UPDATE');
      await client.query('SET CONSTRAINTS ALL DEFERRED');
    }
    const ceiling = this.#ceilingIn(manifest);
    const part = ceiling === null ? read : cutPart(read, ceiling);
    const cuts = await this.#cuts(manifest, ceiling);
    if (!manifest.last) failpoints.hit('sink.part.before');
    await applyPart(client, part.groups, cuts, {
      match: (groups) => this.#match(groups),
      forget: () => structures.forgetTables(),
      mismatch: this.#isLoadDone ? 'target_drift' : 'load_overlap',
      ranks: this.#ranks,
    });
    if (!manifest.last) failpoints.hit('sink.part.after');
    this.#tally.add(part.groups, cuts.filter(({ kind }) => kind === 'truncate').length, part.bytes);
    this.#next = offset + 1n;
    if (ceiling === null && !manifest.last) return true;
    await settleConstraints(client);
    await this.#commit(manifest, this.#tally, ceiling);
    return ceiling === null;
  }

  /** The position with the data it covers (invariant 2). A cut epoch stays the next one to read: `through` says what of it is applied. */
  async #commit(manifest: Manifest, tally: EpochTally, ceiling: Ceiling): Promise<void> {
    const { client, state, status, clock, failpoints } = this.#options;
    const through = ceiling ?? parseLsn(manifest.through);
    const commit = ceiling !== null || manifest.lastCommit === null ? null : parseLsn(manifest.lastCommit);
    if (ceiling !== null) this.#next = this.#epochOffset;
    await state.moveTo(client, { epoch: manifest.epoch, commit, through, nextOffset: this.#next });
    failpoints.hit('sink.epoch.before');
    await client.query('COMMIT');
    failpoints.hit('sink.epoch.after');
    if (ceiling === null) this.#options.lag.reached(manifest);
    this.#tally = null;
    this.#storedAt = clock();
    tally.report(status, manifest, through, this.#storedAt);
    await this.#noteThrough(through);
  }

  /** An idle source's position is stored at most once per interval. False after a cut. */
  async #storeEmpty({ offset, manifest }: StoredManifest): Promise<boolean> {
    const { client, state, status, clock, failpoints } = this.#options;
    const ceiling = this.#ceilingIn(manifest);
    const through = ceiling ?? parseLsn(manifest.through);
    this.#next = ceiling === null ? offset + 1n : offset;
    status.through = formatLsn(through);
    status.lagSeconds = 0;
    const isAwaited =
      !this.#isLoadDone || ceiling !== null || manifest.control.some((entry) => entry.kind === 'barrier');
    if (!isAwaited && clock() - this.#storedAt < EMPTY_INTERVAL_MS) return true;
    await client.query('BEGIN');
    await state.guard(client, 'UPDATE');
    await state.moveTo(client, { epoch: manifest.epoch, commit: null, through, nextOffset: this.#next });
    failpoints.hit('sink.empty.before');
    await client.query('COMMIT');
    failpoints.hit('sink.empty.after');
    this.#storedAt = clock();
    await this.#noteThrough(through);
    return ceiling === null;
  }

  async #noteThrough(through: Lsn): Promise<void> {
    this.#through = through;
    if (this.#isLoadDone || through < this.#newestSnapshot) return;
    await this.#options.onCaughtUp();
    this.#options.structures.forgetTables();
    this.#ranks = await this.#options.readRanks();
    this.#isLoadDone = true;
  }

  async #match(groups: readonly StructureChanges[]): Promise<TableChanges[]> {
    const { client, structures } = this.#options;
    const tables: TableChanges[] = [];
    for (const { structure, version, changes } of groups)
      tables.push({ table: await structures.table(client, structure, version), changes });
    return tables;
  }

  /** What truncates or alters tables in this part of the epoch; an alteration's enum labels are added at once. */
  async #cuts(manifest: Manifest, ceiling: Ceiling): Promise<Cut[]> {
    const { client, structures } = this.#options;
    const cuts: Cut[] = [];
    for (const entry of manifest.control) {
      if (entry.kind === 'barrier') continue;
      const position = positionOf(entry);
      if (ceiling !== null && position.commit >= ceiling) continue;
      const isAfter = (topic: string): boolean => position.commit >= this.#floorOf(topic);
      if (entry.kind === 'ddl') {
        if (!isAfter(entry.topic)) continue;
        const to = structures.structure(entry.topic, entry.to);
        await this.#options.addLabels(to, entry.changes);
        cuts.push({ kind: 'alter', position, to, changes: entry.changes });
        continue;
      }
      const topics = entry.topics.filter(isAfter);
      const tables: TargetTable[] = [];
      for (const topic of topics) tables.push(await structures.bareTable(client, topic));
      cuts.push({ kind: 'truncate', position, tables, isPartial: topics.length < entry.topics.length });
    }
    return cuts;
  }
}
