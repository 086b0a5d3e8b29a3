import { ByteWriters } from '#core/byte-writers.ts';
import { isEventFault } from '#core/error-policy.ts';
import type { ManifestDraft } from '#core/epoch-writer.ts';
import { LagMeter, watchLag } from '#core/lag-meter.ts';
import { parseLsn } from '#core/lsn.ts';
import { planOf, type ControlEntry, type Manifest, type StoredManifest } from '#core/manifest.ts';
import { TopicBatches } from '#core/topic-batches.ts';
import { isOfStream, lastBefore, readContent, readEpochParts, type EpochContent } from './epoch-content.ts';
import { countedOps, countOps, rowsOf } from './epoch-figures.ts';
import { EpochPublisher } from './epoch-publisher.ts';
import type { EventShaper } from './event-shaper.ts';
import { shapeJoined, type JoinedEpochs } from './joined-epochs.ts';
import { begunOtherwise } from './joiner.ts';
import { LetterDesk } from './letter-desk.ts';
import { LetterWork } from './letter-work.ts';
import type { OutputQuarantine } from './output-quarantine.ts';
import { findPlan, requireSameLife } from './raw-life.ts';
import { requireSameRules, requireSameTables, requireSound } from './same-rules.ts';
import { settleReload } from './reached-rows.ts';
import { shapeRanges } from './shape-ranges.ts';
import { TableFloors } from './table-floors.ts';
import type { ShapedEpoch, TransformerParts } from './transformer-parts.ts';
import { draftFrom } from './shaped-draft.ts';
import { ShapedLoad } from './shaped-load.ts';

/** One attempt, by the holder of the lease: raw manifests in, one shaped manifest each, which says what it was made from. */
export async function transform(parts: TransformerParts, signal: AbortSignal): Promise<void> {
  await parts.writer.open();
  const last = await parts.writer.last();
  if (last?.manifest.raw?.shares !== undefined) throw begunOtherwise('key', 'transaction');
  const isChanged = requireSameRules(parts, last);
  const { reader, rawSchemasTopic } = parts;
  const ended = new AbortController();
  const lag = new LagMeter(rawSchemasTopic);
  const figures = watchLag({ ...parts, meter: lag, raw: reader }, AbortSignal.any([signal, ended.signal]));
  try {
    const shaper = await parts.makeShaper();
    if (isChanged) requireSameTables(parts, shaper);
    try {
      await shaper.state?.restore(last !== null);
      await new TransformerRun(parts, shaper, await parts.makeQuarantine(shaper), last, lag).run(signal);
    } finally {
      await shaper.state?.close();
    }
  } finally {
    ended.abort();
    await figures;
  }
}

class TransformerRun {
  readonly #parts: TransformerParts;
  readonly #shaper: EventShaper;
  readonly #quarantine: OutputQuarantine;
  readonly #lag: LagMeter;
  readonly #floors: TableFloors;
  readonly #writers = new ByteWriters();
  /** Raw offset of the announcement whose load is passed on now. */
  #back: bigint | null = null;
  readonly #load: ShapedLoad;
  readonly #desk: LetterDesk;
  /** The stream is passed on, not a load. */
  #isStreaming = false;
  readonly #publisher: EpochPublisher;
  #plan: string | null;
  /** Offset of the last epoch that was joined with one that the rules refuse: up to there they are shaped one by one. */
  #refused = -1n;

  constructor(
    parts: TransformerParts,
    shaper: EventShaper,
    quarantine: OutputQuarantine,
    last: StoredManifest | null,
    lag: LagMeter,
  ) {
    this.#parts = parts;
    this.#shaper = shaper;
    this.#quarantine = quarantine;
    this.#load = new ShapedLoad(shaper);
    this.#floors = new TableFloors((parts.output.profile ?? null) !== null);
    this.#desk = new LetterDesk({
      ...parts,
      work: new LetterWork({ quarantine, shaper, reader: parts.reader, floorOf: this.#floors.of }),
      last: () => (this.#isStreaming ? this.#publisher.last : null),
      snapshots: () => this.#floors.all.values(),
      publish: (draft, epoch) =>
        this.#publisher.publish(
          [{ draft: this.#jointly(draft), ops: countedOps(epoch.ops), counts: epoch.data.takeCounts() }],
          epoch,
        ),
    });
    this.#publisher = new EpochPublisher({ ...parts, shaper, quarantine, last });
    this.#lag = lag;
    this.#plan = planOf(last);
  }

  /** However it ends, nothing is still being written then. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      await this.#passAll(signal);
    } catch (error) {
      await this.#publisher.settled().catch(() => undefined);
      throw error;
    }
    await this.#publisher.settled();
  }

  async #passAll(signal: AbortSignal): Promise<void> {
    const { status } = this.#parts;
    const plan = await findPlan(this.#parts.reader, signal);
    if (plan === null) return;
    const consumed = this.#publisher.last?.manifest.raw;
    await requireSameLife({ ...this.#parts, last: this.#publisher.last }, plan.manifest.incarnation);
    const kind = this.#publisher.last?.manifest.kind;
    const isStreaming = kind === 'stream' || kind === 'empty' || consumed?.back !== undefined;
    status.state = 'loading';
    status.through = this.#publisher.last?.manifest.through ?? '';
    this.#lag.begin('load');
    if (!isStreaming && kind !== 'end' && !(await this.#readLookedUp(plan.offset, false, signal))) return;
    // Chunks first, stepping over the stream; what was passed on by an earlier life only teaches the snapshots.
    const isLoaded = await this.#pass(plan.offset, signal, (stored) =>
      this.#takeLoad(stored, consumed !== undefined && (isStreaming || stored.offset <= BigInt(consumed.offset))),
    );
    if (!isLoaded) return;
    this.#floors.resume(consumed?.floors);
    if (consumed?.back === undefined) {
      const from = isStreaming && consumed !== undefined ? BigInt(consumed.offset) + 1n : plan.offset;
      if (!(await this.#stream(from, signal))) return;
    } else this.#back = BigInt(consumed.back);
    // Where rules look up rows, what the load did to others may still be to be written.
    const isWhole = kind === 'end' && consumed?.back !== undefined && this.#shaper.state === null;
    const reached = isWhole ? null : BigInt(consumed?.offset ?? 0);
    await this.#alternate(reached, signal);
  }

  /** True when an announcement was met and passed on. */
  async #stream(from: bigint, signal: AbortSignal): Promise<boolean> {
    this.#parts.status.state = 'streaming';
    this.#parts.status.load.isDone = true;
    this.#lag.begin('stream');
    this.#isStreaming = true;
    const isMet = await this.#pass(from, signal, (stored) => this.#takeStream(stored, signal));
    this.#isStreaming = false;
    return isMet;
  }

  /**
   * Each late load is written out right after its announcement, then the stream from there on. `reached`: raw offset up to which the first
   * of them is written already; null: all of it.
   */
  async #alternate(reached: bigint | null, signal: AbortSignal): Promise<void> {
    for (let passedOn = reached; this.#back !== null; passedOn = this.#back) {
      const back = this.#back;
      if (passedOn !== null) {
        const upTo = passedOn;
        this.#parts.status.state = 'loading';
        this.#parts.status.load.isDone = false;
        this.#lag.begin('load');
        if (!(await this.#readLookedUp(back + 1n, true, signal))) return;
        if (!(await this.#pass(back + 1n, signal, (stored) => this.#takeLoad(stored, stored.offset <= upTo)))) return;
      }
      this.#back = null;
      if (!(await this.#stream(back + 1n, signal))) return;
    }
  }

  /** Rows of tables that are looked up come before all others of their load. False when aborted. */
  async #readLookedUp(from: bigint, isLate: boolean, signal: AbortSignal): Promise<boolean> {
    const { state } = this.#shaper;
    if (state === null) return true;
    state.beginLoad(isLate);
    return this.#pass(from, signal, async (stored) => {
      await this.#shaper.learn(stored.manifest, signal);
      return state.takeLookedUp(stored, signal);
    });
  }

  /** Feeds manifests until `take` says that its pass is over (true) or a drain is asked for (false). */
  async #pass(from: bigint, signal: AbortSignal, take: (stored: StoredManifest) => Promise<boolean>): Promise<boolean> {
    const { reader, letters } = this.#parts;
    for (let next = from; !signal.aborted;) {
      const turn = AbortSignal.any([signal, letters.changed]);
      await this.#desk.obey(signal);
      for await (const manifests of reader.manifests(next, turn)) {
        for (let at = 0; at < manifests.length; next = (manifests[at - 1]?.offset ?? next) + 1n) {
          const stored = manifests[at]!; // below the length
          this.#lag.see(stored.manifest);
          if (!this.#mayRunAhead(manifests, at)) await this.#standBetween(signal);
          const joined =
            !signal.aborted && this.#mayJoin(manifests, at)
              ? await this.#forwardJoined(manifests.slice(at), signal)
              : 0;
          if (signal.aborted) return false;
          if (joined === 0) await this.#publisher.settled();
          if (joined === 0 && (await take(stored))) return true;
          at += Math.max(1, joined);
        }
        await this.#publisher.settled();
      }
    }
    return false;
  }

  /** Nothing is being written: the place for whatever is asked between epochs. */
  async #standBetween(signal: AbortSignal): Promise<void> {
    await this.#publisher.settled();
    await this.#parts.gate.whenRunning(signal);
    if (!signal.aborted) await this.#desk.obey(signal);
  }

  /** What is shaped next depends on nothing that the write before it does, nor does anybody ask for a place between them. */
  #mayRunAhead(manifests: readonly StoredManifest[], at: number): boolean {
    const { gate, letters } = this.#parts;
    const isAsked = gate.isPaused || letters.commands.length > 0;
    return !isAsked && this.#publisher.hasRoom && this.#shaper.state === null && this.#mayJoin(manifests, at);
  }

  /** Where several whole epochs of the stream wait, which no state or rule wants one by one. */
  #mayJoin(manifests: readonly StoredManifest[], at: number): boolean {
    const [first, second] = [manifests[at], manifests[at + 1]];
    if (first === undefined || second === undefined || !this.#isStreaming || first.offset <= this.#refused)
      return false;
    return this.#shaper.state?.isNeeded !== true && this.#shaper.declaration === null && !this.#quarantine.isCareful;
  }

  async #takeLoad(stored: StoredManifest, isPassedOn: boolean): Promise<boolean> {
    const { manifest } = stored;
    const signal = new AbortController().signal;
    await this.#shaper.learn(manifest, signal);
    this.#floors.note(manifest, this.#back !== null);
    const { kind, table } = manifest;
    if (kind === 'plan') {
      this.#load.plan(manifest);
      this.#shaper.state?.notePlan(stored);
    }
    if (kind === 'tableEnd' && table !== undefined) this.#load.end(table.topic);
    const isLoadKind = kind === 'plan' || kind === 'chunk' || kind === 'tableEnd' || kind === 'end';
    const isOurs = table === undefined || this.#load.tableOf(table.topic) !== null;
    if (isLoadKind && isOurs && !isPassedOn) await this.#forward(stored, signal);
    if (manifest.kind === 'chunk') this.#lag.loaded(manifest);
    return manifest.kind === 'end';
  }

  async #takeStream(stored: StoredManifest, signal: AbortSignal): Promise<boolean> {
    const { manifest } = stored;
    await this.#shaper.learn(manifest, signal);
    if (manifest.kind === 'announce') {
      this.#back = stored.offset;
      this.#load.plan(manifest);
      await this.#forward(stored, signal);
      return !signal.aborted;
    }
    if (manifest.kind === 'stream' || manifest.kind === 'empty') await this.#forward(stored, signal);
    this.#lag.reached(manifest);
    return false;
  }

  async #forward(stored: StoredManifest, signal: AbortSignal): Promise<void> {
    const startedAt = this.#parts.clock();
    const epoch = await this.#shapeEpoch(stored, signal);
    if (signal.aborted) return;
    if (isOfStream(stored.manifest)) await this.#shaper.state?.sweep(epoch.side);
    const draft = this.#draft(stored, rowsOf(epoch.ops), epoch.control, this.#shaper.takeJoint());
    await this.#publisher.publish([{ draft, ops: epoch.ops, counts: epoch.data.takeCounts() }], epoch, startedAt);
    if (this.#publisher.last?.manifest.kind === 'plan') this.#plan ??= String(this.#publisher.last.offset);
  }

  /**
   * Begins to write what is shaped once the write before has ended. Returns how many manifests that is: 0 where the first is to be taken by
   * itself, for it is no whole epoch, or its rules fail.
   */
  async #forwardJoined(manifests: readonly StoredManifest[], signal: AbortSignal): Promise<number> {
    const startedAt = this.#parts.clock();
    const joined = await this.#shapeJoined(manifests, signal);
    const last = joined?.epochs.at(-1);
    if (joined === null || last === undefined || signal.aborted) return 0;
    await this.#publisher.settled();
    const entries = joined.epochs.map(({ stored, ops, counts, isJoint }) => ({
      draft: this.#draft(stored, rowsOf(ops), stored.manifest.control, isJoint),
      counts,
      ops,
    }));
    this.#publisher.begin(entries, joined, startedAt, () => this.#lag.reached(last.stored.manifest));
    return entries.length;
  }

  /** null where the rules refuse something: which epoch it is, and what becomes of it, is found one by one. */
  async #shapeJoined(manifests: readonly StoredManifest[], signal: AbortSignal): Promise<JoinedEpochs | null> {
    const floors = { snapshots: this.#floors.all, floorOf: this.#floors.of };
    const options = { ...this.#parts, ...floors, shaper: this.#shaper, writers: this.#writers };
    try {
      return await shapeJoined(options, manifests, signal);
    } catch (error) {
      if (!isEventFault(error)) throw error;
      this.#shaper.forgetIntroduced();
      this.#refused = manifests.at(-1)?.offset ?? this.#refused;
      return null;
    }
  }

  /** First as ever; with care where something waits, and again where the policy leaves out what failed. */
  async #shapeEpoch(stored: StoredManifest, signal: AbortSignal): Promise<ShapedEpoch> {
    const { manifest } = stored;
    const quarantine = this.#quarantine;
    if (quarantine.mustSeeAhead(manifest))
      await quarantine.seeAhead(
        manifest.epoch,
        this.#readAhead(stored, signal),
        lastBefore(manifest, this.#publisher.last),
        signal,
      );
    quarantine.supersede(manifest);
    if (quarantine.isCareful) return this.#shapeOnce(stored, true, signal);
    try {
      return await this.#shapeOnce(stored, false, signal);
    } catch (error) {
      if (!quarantine.takes(error)) throw error;
      this.#shaper.forgetIntroduced();
      return this.#shapeOnce(stored, true, signal);
    }
  }

  async #shapeOnce(stored: StoredManifest, isCareful: boolean, signal: AbortSignal): Promise<ShapedEpoch> {
    const { manifest } = stored;
    const out = { data: new TopicBatches(this.#writers), side: new TopicBatches(), floorOf: this.#floors.of };
    if (manifest.kind === 'plan' || manifest.kind === 'announce') await this.#introducePlan(manifest, out.data, signal);
    const control = manifest.control.flatMap((entry) => this.#shapeControl(entry, out.data));
    const ops = countedOps('');
    if (isOfStream(manifest)) countOps(ops, await settleReload(this.#shaper, stored, out));
    const count = (given: string): void => countOps(ops, given);
    const ranges = { ...this.#parts, shaper: this.#shaper, stored, floors: this.#floors.all };
    if (isCareful) await this.#quarantine.shape(await this.#contentOf(stored, signal), { ...out, count }, signal);
    else await shapeRanges(ranges, out, ops, signal);
    if (manifest.kind === 'plan') this.#shaper.state?.plan(stored, out.side);
    this.#quarantine.requireSettled(manifest);
    return { ...out, ops, control };
  }

  #readAhead(from: StoredManifest, signal: AbortSignal): AsyncGenerator<EpochContent> {
    return readEpochParts(this.#parts.ahead, from, signal, async (stored) => {
      await this.#shaper.learn(stored.manifest, signal);
      return this.#contentOf(stored, signal);
    });
  }

  #contentOf(stored: StoredManifest, signal: AbortSignal): Promise<EpochContent> {
    const { reader, rawSchemasTopic } = this.#parts;
    return readContent({ reader, stored, rawSchemasTopic, floors: this.#floors.all }, signal);
  }

  /** The structures that the raw manifest has of its tables, where it has them; the newest known else. */
  async #introducePlan(manifest: Manifest, out: TopicBatches, signal: AbortSignal): Promise<void> {
    requireSound(this.#parts, this.#shaper);
    const own = await this.#shaper.learn(manifest, signal);
    for (const { topic } of manifest.tables ?? []) this.#shaper.introducePlanned(topic, own, out);
  }

  /** What waited is of any rows, and their keys may change in it. */
  #jointly(draft: ManifestDraft): ManifestDraft {
    return this.#shaper.isPartitioned ? { ...draft, joint: true } : draft;
  }

  #draft(stored: StoredManifest, rows: number, control: ControlEntry[], isJoint: boolean): ManifestDraft {
    const late = this.#floors.tell(stored.manifest, this.#back);
    return draftFrom(stored, rows, control, {
      last: this.#publisher.last,
      plan: this.#plan,
      load: this.#load,
      late,
      isJoint,
    });
  }

  #shapeControl(entry: ControlEntry, out: TopicBatches): ControlEntry[] {
    if (entry.kind === 'barrier') return [entry];
    const isAfter = (topic: string): boolean => parseLsn(entry.commit) >= this.#floors.of(topic);
    if (entry.kind === 'ddl') return isAfter(entry.topic) ? this.#shaper.shapeAlteration(entry, out) : [];
    return this.#shaper.shapeTruncation({ ...entry, topics: entry.topics.filter(isAfter) }, out);
  }
}
