import type { OutputConfig } from '#core/config.ts';
import type { PauseGate } from '#core/control.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { isEventFault } from '#core/error-policy.ts';
import type { EpochWriter, ManifestDraft, PartitionRecords, WrittenEntry } from '#core/epoch-writer.ts';
import { LagMeter, watchLag } from '#core/lag-meter.ts';
import type { LetterGate } from '#core/letter-command.ts';
import type { Logger } from '#core/log.ts';
import { parseLsn } from '#core/lsn.ts';
import type { ControlEntry, Manifest, StoredManifest } from '#core/manifest.ts';
import type { ServiceStatus } from '#core/status.ts';
import { TopicBatches } from '#core/topic-batches.ts';
import { isOfStream, lastBefore, readContent, readEpochParts, type EpochContent } from './epoch-content.ts';
import { countedOps, countOps, noteEvents, noteWritten, rowsOf, type OpCounts } from './epoch-figures.ts';
import type { EventShaper } from './event-shaper.ts';
import { shapeJoined, type JoinedEpochs } from './joined-epochs.ts';
import { LetterDesk } from './letter-desk.ts';
import { LetterWork } from './letter-work.ts';
import type { OutputQuarantine } from './output-quarantine.ts';
import { findPlan, requireSameLife } from './raw-life.ts';
import { requireSameRules, requireSameTables, requireSound, stamped, type OutputRules } from './same-rules.ts';
import { settleReload } from './reached-rows.ts';
import { shapeRanges } from './shape-ranges.ts';
import { TableFloors } from './table-floors.ts';
import { draftFrom } from './shaped-draft.ts';
import { ShapedLoad } from './shaped-load.ts';

export interface TransformerParts {
  readonly output: OutputConfig;
  readonly shapedPrefix: string;
  readonly rawSchemasTopic: string;
  readonly reader: EpochReader;
  readonly writer: EpochWriter;
  /** A second reader of the same stream, for a look at the later parts of an epoch. */
  readonly ahead: EpochReader;
  readonly rules: OutputRules;
  readonly makeShaper: () => Promise<EventShaper>;
  /** After `writer.last`: what waits is as the last epoch left it. */
  readonly makeQuarantine: (shaper: EventShaper) => Promise<OutputQuarantine>;
  readonly ensureTopics: (topics: readonly string[]) => Promise<void>;
  /** Topics of others, which the pipeline does not stand on. */
  readonly ensureSideTopics: (topics: readonly string[]) => Promise<void>;
  readonly status: ServiceStatus;
  readonly gate: PauseGate;
  readonly letters: LetterGate;
  readonly logger: Logger;
  readonly clock: () => number;
}

/** What becomes of one raw manifest. */
interface ShapedEpoch {
  readonly data: TopicBatches;
  readonly side: TopicBatches;
  readonly ops: OpCounts;
  readonly control: ControlEntry[];
}

/** A manifest to be written, and what of the transaction's records is its own. */
interface ShapedEntry extends WrittenEntry {
  readonly ops: OpCounts;
}

/** One attempt, by the holder of the lease: raw manifests in, one shaped manifest each, which says what it was made from. */
export async function transform(parts: TransformerParts, signal: AbortSignal): Promise<void> {
  await parts.writer.open();
  const last = await parts.writer.last();
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
  /** Raw offset of the announcement whose load is passed on now. */
  #back: bigint | null = null;
  readonly #load: ShapedLoad;
  readonly #topics = new Set<string>();
  readonly #desk: LetterDesk;
  /** The stream is passed on, not a load. */
  #isStreaming = false;
  #last: StoredManifest | null;
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
      last: () => (this.#isStreaming ? this.#last : null),
      snapshots: () => this.#floors.all.values(),
      publish: (draft, epoch) =>
        this.#publish([{ draft, ops: countedOps(epoch.ops), counts: epoch.data.takeCounts() }], epoch),
    });
    this.#last = last;
    this.#lag = lag;
    this.#plan = last?.manifest.plan ?? (last?.manifest.kind === 'plan' ? String(last.offset) : null);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { status } = this.#parts;
    const plan = await findPlan(this.#parts.reader, signal);
    if (plan === null) return;
    const consumed = this.#last?.manifest.raw;
    await requireSameLife({ ...this.#parts, last: this.#last }, plan.manifest.incarnation);
    const kind = this.#last?.manifest.kind;
    const isStreaming = kind === 'stream' || kind === 'empty' || consumed?.back !== undefined;
    status.state = 'loading';
    status.through = this.#last?.manifest.through ?? '';
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
    const { reader, gate, letters } = this.#parts;
    for (let next = from; !signal.aborted;) {
      const turn = AbortSignal.any([signal, letters.changed]);
      await this.#desk.obey(signal);
      for await (const manifests of reader.manifests(next, turn)) {
        for (let at = 0; at < manifests.length; next = (manifests[at - 1]?.offset ?? next) + 1n) {
          const stored = manifests[at]!; // below the length
          this.#lag.see(stored.manifest);
          await gate.whenRunning(signal);
          if (signal.aborted) return false;
          await this.#desk.obey(signal);
          const joined = await this.#forwardJoined(manifests, at, signal);
          if (signal.aborted) return false;
          if (joined === 0 && (await take(stored))) return true;
          at += Math.max(1, joined);
        }
      }
    }
    return false;
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
    const draft = this.#draft(stored, rowsOf(epoch.ops), epoch.control);
    await this.#publish([{ draft, ops: epoch.ops, counts: epoch.data.takeCounts() }], epoch, startedAt);
    if (this.#last?.manifest.kind === 'plan') this.#plan ??= String(this.#last.offset);
  }

  /** Returns how many manifests from `at` on: 0 where that one is to be taken by itself, for it is no whole epoch, or its rules fail. */
  async #forwardJoined(manifests: readonly StoredManifest[], at: number, signal: AbortSignal): Promise<number> {
    const [first, second] = [manifests[at], manifests[at + 1]];
    if (first === undefined || second === undefined || !this.#isStreaming || first.offset <= this.#refused) return 0;
    const shaper = this.#shaper;
    if (shaper.state?.isNeeded === true || shaper.declaration !== null || this.#quarantine.isCareful) return 0;
    const startedAt = this.#parts.clock();
    const joined = await this.#shapeJoined(manifests.slice(at), signal);
    const last = joined?.epochs.at(-1);
    if (joined === null || last === undefined || signal.aborted) return 0;
    const entries = joined.epochs.map(({ stored, ops, counts }) => ({
      draft: this.#draft(stored, rowsOf(ops), stored.manifest.control),
      counts,
      ops,
    }));
    await this.#publish(entries, joined, startedAt);
    this.#lag.reached(last.stored.manifest);
    return entries.length;
  }

  /** null where the rules refuse something: which epoch it is, and what becomes of it, is found one by one. */
  async #shapeJoined(manifests: readonly StoredManifest[], signal: AbortSignal): Promise<JoinedEpochs | null> {
    const options = { ...this.#parts, shaper: this.#shaper, snapshots: this.#floors.all, floorOf: this.#floors.of };
    try {
      return await shapeJoined(options, manifests, signal);
    } catch (error) {
      if (!isEventFault(error)) throw error;
      this.#shaper.forgetIntroduced();
      this.#refused = manifests.at(-1)?.offset ?? this.#refused;
      return null;
    }
  }

  async #publish(
    entries: readonly ShapedEntry[],
    { data: out, side }: Pick<ShapedEpoch, 'data' | 'side'>,
    startedAt = this.#parts.clock(),
  ): Promise<void> {
    const { writer, status, clock, ensureTopics, ensureSideTopics, logger, rules } = this.#parts;
    this.#quarantine.append(side);
    const [data, beside] = [out.finish(), side.finish()];
    await this.#ensure(data, ensureTopics);
    await this.#ensure(beside, ensureSideTopics);
    const drafts = entries.map(({ draft, counts }) => ({ draft: stamped(draft, rules.print), counts }));
    const written = await writer.writeAll(drafts, data, beside);
    await this.#shaper.state?.committed();
    const [bytes, seconds] = [out.bytes / entries.length, (clock() - startedAt) / 1000 / entries.length];
    for (const [index, stored] of written.entries()) {
      this.#last = stored;
      const { manifest } = stored;
      const { ops = countedOps('') } = entries[index] ?? {};
      const letters = this.#quarantine.written(manifest);
      if (letters > 0) logger.warn({ letters }, `${letters} events became dead letters: restage dlq list says why`);
      noteWritten(status, manifest, rowsOf(ops), bytes, seconds, clock());
      noteEvents(status.events, ops, manifest);
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
        lastBefore(manifest, this.#last),
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
    const out = { data: new TopicBatches(), side: new TopicBatches(), floorOf: this.#floors.of };
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

  async #ensure(records: readonly PartitionRecords[], make: TransformerParts['ensureTopics']): Promise<void> {
    const unseen = records.map(({ topic }) => topic).filter((topic) => !this.#topics.has(topic));
    if (unseen.length > 0) await make(unseen);
    for (const topic of unseen) this.#topics.add(topic);
  }

  /** The structures that the raw manifest has of its tables, where it has them; the newest known else. */
  async #introducePlan(manifest: Manifest, out: TopicBatches, signal: AbortSignal): Promise<void> {
    requireSound(this.#parts, this.#shaper);
    const own = await this.#shaper.learn(manifest, signal);
    for (const { topic } of manifest.tables ?? []) this.#shaper.introducePlanned(topic, own, out);
  }

  #draft(stored: StoredManifest, rows: number, control: ControlEntry[]): ManifestDraft {
    const late = this.#floors.tell(stored.manifest, this.#back);
    return draftFrom(stored, rows, control, { last: this.#last, plan: this.#plan, load: this.#load, late });
  }

  #shapeControl(entry: ControlEntry, out: TopicBatches): ControlEntry[] {
    if (entry.kind === 'barrier') return [entry];
    const isAfter = (topic: string): boolean => parseLsn(entry.commit) >= this.#floors.of(topic);
    if (entry.kind === 'ddl') return isAfter(entry.topic) ? this.#shaper.shapeAlteration(entry, out) : [];
    return this.#shaper.shapeTruncation({ ...entry, topics: entry.topics.filter(isAfter) }, out);
  }
}
