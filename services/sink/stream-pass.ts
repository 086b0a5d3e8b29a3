import { once } from 'node:events';
import type { TableLoad } from '#adapters/postgres/target/target-state.ts';
import type { HoldRequest } from '#core/control.ts';
import { formatLsn, LSN_ZERO, maxLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import { isUncutEpoch, type Manifest, type StoredManifest } from '#core/manifest.ts';
import type { ApplyChanges } from './quarantine.ts';
import { applyPart, settleConstraints, type Cut, type PartTools } from './epoch-apply.ts';
import { reaches, readCuts, type Ceiling } from './part-cuts.ts';
import { cutPart, matchTables, readPart, type ReadPart, type StructureChanges } from './part-reader.ts';
import { EpochTally } from './epoch-tally.ts';
import { JoinedReader } from './joined-epochs.ts';
import { unannouncedLoad } from './unannounced-load.ts';
import type { TableRanks } from './segment-apply.ts';
import type { StreamPassOptions } from './stream-pass-options.ts';
import type { StreamPosition } from './target.ts';

const EMPTY_INTERVAL_MS = 10_000;
/** Epochs that are not larger together go to the target without a wait for an answer: statements made of them are in memory (invariant 6). */
const AT_ONCE_BYTES = 8 * 1024 * 1024;

/** The second pass: stream epochs in order, each in one target transaction with the position (invariants 2 and 4), until aborted. */
export class StreamPass {
  readonly #options: StreamPassOptions;
  #loads: ReadonlyMap<string, TableLoad> = new Map();
  #isLoadDone: boolean;
  /** An announcement that is met: its load comes before anything else. */
  #announced: StoredManifest | null = null;
  /** The open transaction takes the stream to a late load's newest snapshot. */
  #isExchanging = false;
  /** Some part of an epoch is applied that is not its last. */
  #isMidEpoch = false;
  /** Of the epoch whose transaction is open. */
  #tally: EpochTally | null = null;
  /** Offset of that epoch's first part, or of the first of several epochs: to begin again there after a cut. */
  #epochOffset = 0n;
  /** Offset of the last epoch that something of was refused, or that was joined with such: up to there they are applied one by one. */
  #refused = -1n;
  /** All that committed before it is applied. */
  #through: Lsn = LSN_ZERO;
  /** Offset of the next manifest. */
  #next = 0n;
  #storedAt = 0;
  #ranks: TableRanks | null = null;
  /** Lanes apply, or are to from here on. */
  #isSpread: boolean;

  constructor(options: StreamPassOptions) {
    this.#options = options;
    this.#isSpread = options.spread.open !== null;
    this.#isLoadDone = options.isLoadDone;
  }

  async run(from: bigint, through: Lsn, signal: AbortSignal): Promise<void> {
    this.#next = from;
    this.#through = through;
    this.#loads = await this.#options.readLoads();
    await this.#options.late.open();
    this.#ranks = await this.#options.readRanks();
    await this.#noteThrough(through);
    await this.#options.quarantine.begin(this.#options.clock());
    try {
      while (!signal.aborted) {
        if (this.#isSpread) await this.#waitForLanes(signal);
        await this.#standStill(signal);
        const announced = this.#announced;
        this.#announced = null;
        if (announced === null) await this.#follow(signal);
        else await this.#takeLate(announced, signal);
      }
    } finally {
      if (this.#tally !== null) await this.#options.session.transaction.rollback().catch(() => undefined);
    }
  }

  async #waitForLanes(signal: AbortSignal): Promise<void> {
    const { spread, clock, status } = this.#options;
    const met = await spread.run({ nextOffset: this.#next, through: this.#through, epoch: status.epoch }, signal);
    this.#isSpread = false;
    if (met === null) return;
    this.#next = met.nextOffset;
    this.#through = met.through;
    this.#storedAt = clock();
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

  /** False when the rest is not to be taken now. */
  async #takeAll(manifests: readonly StoredManifest[], signal: AbortSignal): Promise<boolean> {
    const joined = new JoinedReader(manifests, (manifest) => this.#read(manifest, signal));
    for (let index = 0; index < manifests.length;) {
      const stored = manifests[index]!; // below the length
      this.#options.lag.see(stored.manifest);
      if (this.#tally === null) await this.#options.whenRunning();
      const asked = this.#options.hold.request;
      if (signal.aborted || (asked !== null && this.#isPlaceOf(asked))) return false;
      if (stored.manifest.kind !== 'stream') {
        if (!(await this.#pass(stored, signal))) return false;
        this.#options.lag.reached(stored.manifest);
        index += 1;
        continue;
      }
      if (await this.#maySpread(manifests.slice(index))) return false;
      const { part, count } = await joined.take(index, await this.#mayJoin(stored, manifests[index + 1]));
      if (signal.aborted) return false;
      const last = manifests[index + count - 1] ?? stored;
      if (!(await this.#applyAtOnce(last, part)) && !(await this.#apply(last, part, stored.offset))) return false;
      index += count;
    }
    return true;
  }

  /** Lanes go on from here: the rows are whole, and this is a position. */
  async #maySpread(manifests: readonly StoredManifest[]): Promise<boolean> {
    const { late, spread } = this.#options;
    const isPlain = this.#isLoadDone && this.#tally === null && !late.isOpen;
    this.#isSpread = isPlain && (await spread.mayOpen(manifests));
    return this.#isSpread;
  }

  /** Not where an epoch is cut, nor where something may be left out of it: what that is, is told by its own manifest. */
  async #mayJoin({ offset }: StoredManifest, next: StoredManifest | undefined): Promise<boolean> {
    // A sink that keeps up has nothing to join, and need not ask its target.
    if (next?.manifest.kind !== 'stream') return false;
    return this.#isPlain(offset);
  }

  /** Nothing of an epoch that begins here is left out, waits, or is cut. */
  async #isPlain(offset: bigint): Promise<boolean> {
    const { hold, late, quarantine, session } = this.#options;
    if (!this.#isLoadDone || this.#tally !== null || late.isOpen || hold.request !== null) return false;
    return !quarantine.isCareful && offset > this.#refused && !(await session.letters.isAnyHeld());
  }

  #read(manifest: Manifest, signal: AbortSignal): Promise<ReadPart> {
    const { reader, structures } = this.#options;
    return readPart(reader, structures, (topic) => this.#floorOf(topic), manifest, signal);
  }

  /** What committed before it is in the topic's snapshot, or was applied before the epoch was cut. */
  #floorOf(topic: string): Lsn {
    const loaded = this.#loads.get(topic)?.snapshot ?? LSN_ZERO;
    return maxLsn(this.#through, maxLsn(loaded, this.#options.late.floorOf(topic)));
  }

  /** The LSN to stop at, where this manifest reaches it. */
  #ceilingIn(manifest: Manifest): Ceiling {
    const lsn = this.#options.hold.request?.lsn ?? null;
    if (lsn === null || (this.#isExchanging && lsn < this.#options.late.end)) return null;
    return reaches(manifest, lsn) ? lsn : null;
  }

  /** Manifests without changes of the stream. False after a cut. */
  async #pass(stored: StoredManifest, signal: AbortSignal): Promise<boolean> {
    const { manifest } = stored;
    if (manifest.kind === 'announce') await this.#options.structures.learn(manifest, signal);
    if (manifest.kind === 'empty') return this.#storeEmpty(stored);
    if (manifest.kind === 'announce' && !this.#hasTaken(stored)) {
      this.#announced = stored;
      return false;
    }
    if (manifest.kind === 'plan' && !this.#options.late.isOpen && !this.#hasLoaded(manifest))
      throw unannouncedLoad(stored);
    this.#next = stored.offset + 1n;
    return true;
  }

  /** This announcement's rows are in the target, or in shadow tables that the open transaction exchanges. */
  #hasTaken({ offset, manifest }: StoredManifest): boolean {
    if (this.#options.late.isOpen) return this.#isExchanging && this.#options.late.isLoaded(offset);
    return this.#hasLoaded(manifest);
  }

  #hasLoaded({ tables = [], load }: Manifest): boolean {
    return tables.every(({ topic }) => (this.#loads.get(topic)?.load ?? 0) >= load);
  }

  /** Announced while the transaction before was still open: that one is given up, and begun again when these rows are there too. */
  async #takeLate(announced: StoredManifest, signal: AbortSignal): Promise<void> {
    const { session, late, status, lag, clock, structures } = this.#options;
    if (this.#tally !== null) await session.transaction.rollback();
    this.#tally = null;
    this.#isExchanging = false;
    this.#isLoadDone = false;
    structures.forgetTables();
    status.load.isDone = false;
    if (!(await late.takeAll(announced.offset, () => lag.begin('load'), signal))) return;
    late.requireReachable(this.#options.hold.request, this.#through);
    lag.begin('stream');
    this.#ranks = await this.#options.readRanks();
    await session.transaction.begin('UPDATE', 'deferred');
    this.#tally = new EpochTally(clock());
    this.#isExchanging = true;
    await late.exchange();
    status.state = 'streaming';
    this.#next = (late.begun ?? announced.offset) + 1n;
    if (this.#through < late.end) return;
    await this.#settle();
    await this.#commit(announced.manifest, this.#tally, null);
  }

  /** False where it is for `#apply`. */
  async #applyAtOnce({ offset, manifest }: StoredManifest, part: ReadPart): Promise<boolean> {
    const { session, structures, clock } = this.#options;
    if (part.bytes > AT_ONCE_BYTES || !isUncutEpoch(manifest) || this.#ranks !== null) return false;
    if (part.unusable.length > 0 || !(await this.#isPlain(offset))) return false;
    const tally = new EpochTally(clock());
    const tables = await matchTables(structures, session.catalog, part.groups);
    const position = this.#positionAt(manifest, null, offset + 1n);
    if (!(await session.applyAtOnce(tables, position))) return false;
    this.#tally = tally;
    this.#next = position.nextOffset;
    tally.add(part.groups, 0, part.bytes);
    await this.#seal(manifest, tally, null, position.through);
    return true;
  }

  /** False when the epoch was cut and is to be read again from its first part. */
  async #apply({ offset, manifest }: StoredManifest, read: ReadPart, first: bigint): Promise<boolean> {
    const { session, clock, failpoints } = this.#options;
    if (this.#tally === null) {
      this.#tally = new EpochTally(clock());
      await session.transaction.begin('UPDATE', 'deferred');
    }
    if (!this.#isMidEpoch) this.#epochOffset = first;
    const ceiling = this.#ceilingIn(manifest);
    const part = ceiling === null ? read : cutPart(read, ceiling);
    const cuts = await readCuts(manifest, ceiling, { ...this.#options, floorOf: (topic) => this.#floorOf(topic) });
    if (!manifest.last) failpoints.hit('sink.part.before');
    const isLast = ceiling !== null || manifest.last;
    const isEnd = isLast && !this.#isBeforeEnd(ceiling ?? parseLsn(manifest.through));
    try {
      const applied = await this.#applyPart({ offset, manifest }, isLast, part, cuts);
      if (isEnd) await this.#settle();
      this.#tally.add(applied, cuts.filter(({ kind }) => kind === 'truncate').length, part.bytes);
    } catch (error) {
      if (!this.#isLoadDone || !this.#options.quarantine.takes(error)) throw error;
      this.#refused = offset;
      return this.#beginAgain();
    }
    if (!manifest.last) failpoints.hit('sink.part.after');
    this.#next = offset + 1n;
    this.#isMidEpoch = !isLast;
    if (!isEnd) return true;
    await this.#commit(manifest, this.#tally, ceiling);
    return ceiling === null;
  }

  /** A late load's exchange is no state of the source before its newest snapshot (invariant 4). */
  #isBeforeEnd(through: Lsn): boolean {
    return this.#isExchanging && through < this.#options.late.end;
  }

  /** While rows of a load are on their way nothing more is left out: what refers to what cannot be known yet. */
  async #applyPart(
    { offset, manifest }: StoredManifest,
    isLast: boolean,
    part: ReadPart,
    cuts: readonly Cut[],
  ): Promise<readonly StructureChanges[]> {
    const { session, structures, quarantine, late } = this.#options;
    const tools: PartTools = {
      match: (matched) => matchTables(structures, session.catalog, matched),
      forget: () => structures.forgetTables(),
      mismatch: this.#isLoadDone ? 'target_drift' : 'load_overlap',
      ranks: this.#ranks,
    };
    const apply: ApplyChanges = (groups, some) =>
      late.applyAround(groups, some, (changes, cut) => applyPart(session.rows, changes, cut, tools));
    const [unusable] = part.unusable;
    if (unusable !== undefined && !this.#isLoadDone) throw unusable.error;
    const isFirst = !this.#isMidEpoch;
    return quarantine.applyPart({ offset, manifest, isFirst, isLast, isLoadDone: this.#isLoadDone }, part, cuts, apply);
  }

  /** Before the commit: what still waits takes its place, and what was put off is checked. */
  async #settle(): Promise<void> {
    if (this.#isExchanging) await this.#options.late.fillRest();
    await settleConstraints(this.#options.session.transaction);
  }

  /** From the epoch's first part, with what the quarantine knows now. */
  async #beginAgain(): Promise<boolean> {
    await this.#options.session.transaction.rollback();
    this.#options.structures.forgetTables();
    this.#tally = null;
    this.#isMidEpoch = false;
    this.#next = this.#epochOffset;
    return false;
  }

  /** A cut epoch stays the next one to read: `through` says what of it is applied. */
  #positionAt(manifest: Manifest, ceiling: Ceiling, nextOffset: bigint): StreamPosition {
    const through = maxLsn(this.#through, ceiling ?? parseLsn(manifest.through));
    const commit = ceiling !== null || manifest.lastCommit === null ? null : parseLsn(manifest.lastCommit);
    return { epoch: manifest.epoch, commit, through, nextOffset };
  }

  /** The position with the data it covers (invariant 2). */
  async #commit(manifest: Manifest, tally: EpochTally, ceiling: Ceiling): Promise<void> {
    const { session, late, quarantine } = this.#options;
    if (ceiling !== null) this.#next = this.#epochOffset;
    const position = this.#positionAt(manifest, ceiling, this.#next);
    await session.position.moveTo(position);
    if (this.#isExchanging) {
      await late.finish();
      await quarantine.supersede(await this.#options.readLoads());
    }
    await this.#seal(manifest, tally, ceiling, position.through);
  }

  /** The position is moved to `through` in the open transaction. */
  async #seal(manifest: Manifest, tally: EpochTally, ceiling: Ceiling, through: Lsn): Promise<void> {
    const { session, status, clock, failpoints } = this.#options;
    const step = this.#isExchanging ? 'exchange' : 'epoch';
    failpoints.hit(`sink.${step}.before`);
    await session.transaction.commit();
    failpoints.hit(`sink.${step}.after`);
    if (this.#isExchanging) await this.#noteExchanged();
    if (ceiling === null) this.#options.lag.reached(manifest);
    this.#tally = null;
    this.#storedAt = clock();
    tally.report(status, manifest, through, this.#storedAt);
    await this.#options.quarantine.committed(this.#storedAt);
    await this.#noteThrough(through);
  }

  async #noteExchanged(): Promise<void> {
    this.#isExchanging = false;
    this.#options.late.forget();
    this.#loads = await this.#options.readLoads();
    this.#options.structures.forgetTables();
  }

  /** An idle source's position is stored at most once per interval. False after a cut. */
  async #storeEmpty({ offset, manifest }: StoredManifest): Promise<boolean> {
    const { session, status, clock, failpoints } = this.#options;
    const ceiling = this.#ceilingIn(manifest);
    // A position that a switch moved ahead of the stream does not go back to it.
    const through = maxLsn(this.#through, ceiling ?? parseLsn(manifest.through));
    this.#next = ceiling === null ? offset + 1n : offset;
    if (this.#tally !== null) return this.#endExchange(manifest, this.#tally, ceiling);
    status.through = formatLsn(through);
    status.lagSeconds = 0;
    const isAwaited =
      !this.#isLoadDone || ceiling !== null || manifest.control.some((entry) => entry.kind === 'barrier');
    if (!isAwaited && clock() - this.#storedAt < EMPTY_INTERVAL_MS) return true;
    await session.transaction.begin('UPDATE');
    await session.position.moveTo({ epoch: manifest.epoch, commit: null, through, nextOffset: this.#next });
    failpoints.hit('sink.empty.before');
    await session.transaction.commit();
    failpoints.hit('sink.empty.after');
    this.#storedAt = clock();
    await this.#options.quarantine.committed(this.#storedAt);
    await this.#noteThrough(through);
    return ceiling === null;
  }

  /** The stream is past a late load's newest snapshot, if it is, without another change. False after a cut. */
  async #endExchange(manifest: Manifest, tally: EpochTally, ceiling: Ceiling): Promise<boolean> {
    if (this.#isBeforeEnd(ceiling ?? parseLsn(manifest.through))) return true;
    this.#epochOffset = this.#next;
    await this.#settle();
    await this.#commit(manifest, tally, ceiling);
    return ceiling === null;
  }

  async #noteThrough(through: Lsn): Promise<void> {
    this.#through = through;
    if (this.#isLoadDone || this.#options.late.isOpen) return;
    if ([...this.#loads.values()].some(({ snapshot }) => (snapshot ?? LSN_ZERO) > through)) return;
    await this.#options.onCaughtUp();
    this.#options.structures.forgetTables();
    this.#ranks = await this.#options.readRanks();
    this.#isLoadDone = true;
  }
}
