import { isEventFault } from '#core/error-policy.ts';
import { heldTableSlots, type KeyLink } from '#core/key-slots.ts';
import type { Logger } from '#core/log.ts';
import { LSN_ZERO, type Lsn } from '#core/lsn.ts';
import type { StoredManifest } from '#core/manifest.ts';
import type { Position } from '#core/position.ts';
import type { QuarantinePolicy } from '#core/quarantine.ts';
import type { ServiceStatus } from '#core/status.ts';
import type { TableName } from '#core/table-name.ts';
import { CarefulPart, SpanningFault, type Judged, type Verdict } from './careful-part.ts';
import type { Cut } from './epoch-apply.ts';
import type { ReadPart, StructureChanges, UnusableRecord } from './part-reader.ts';
import { splitPart, type Unit } from './part-units.ts';
import type { SlotBook } from './slot-book.ts';
import type { HeldLetters, TargetCatalog, TargetTransaction } from './target.ts';

/** Writes what is left out of a part into the target, in the transaction of its position. */
export interface LetterWriter<P> {
  readonly idOf: (topic: string, place: Position | bigint) => string;
  /** Returns how many there are. */
  readonly write: (
    place: P,
    judged: readonly Judged[],
    unusable: readonly UnusableRecord[],
    links: readonly KeyLink[],
  ) => Promise<number>;
}

/** Of a session with the target, what it takes to leave something out. */
export interface QuarantineSession {
  readonly transaction: Pick<TargetTransaction, 'attempt' | 'settle'>;
  readonly catalog: Pick<TargetCatalog, 'table' | 'links'>;
  readonly letters: HeldLetters;
}

export interface QuarantineOptions<P> {
  readonly policy: QuarantinePolicy;
  readonly session: QuarantineSession;
  readonly slots: SlotBook;
  readonly writer: LetterWriter<P>;
  /** What is applied or left out together. */
  readonly split?: (part: ReadPart, cuts: readonly Cut[]) => Unit[];
  /** The target's tables, for the foreign keys between them. */
  readonly tables: () => Promise<readonly TableName[]>;
  /** Sends what the topic has not got yet; after the commit. */
  readonly relay: () => Promise<void>;
  readonly status: ServiceStatus;
  readonly logger: Logger;
}

/** A part in its place: the epoch's first part has nothing of it before. */
export interface PartOrder {
  readonly isFirst: boolean;
  /** Nothing of the epoch comes after it. */
  readonly isLast: boolean;
  /** Else what the target refuses stops the sink, and only what waits goes on waiting. */
  readonly isLoadDone: boolean;
  /** The source transaction that goes on in the next part; absent: the part's last one may. */
  readonly open?: Lsn;
}

export type PartPlace = StoredManifest & PartOrder;

export type ApplyChanges = (groups: readonly StructureChanges[], cuts: readonly Cut[]) => Promise<void>;

const COUNT_INTERVAL_MS = 2_000;

/**
 * Leaves out of an epoch what the target refuses, and what waits behind it, as dead letters in the same target transaction (invariants
 * 2 and 3). An epoch is first applied as ever; only when that fails, or when it touches a key that is held, is it looked at closely.
 */
export class Quarantine<P extends PartOrder = PartPlace> {
  readonly #options: QuarantineOptions<P>;
  /** The epoch in hand failed once as a whole. */
  #isCareful = false;
  /** Source transactions of the epoch in hand that are left out whole, though a part of them could be applied. */
  readonly #condemned = new Map<Lsn, Verdict>();
  /** A transaction that began in an earlier part of the epoch in hand. */
  #spanning: Lsn | null = null;
  #added = 0;
  #countedAt = 0;

  constructor(options: QuarantineOptions<P>) {
    this.#options = options;
  }

  /** Each unit is to be told from the others: the epoch in hand failed before. */
  get isCareful(): boolean {
    return this.#isCareful;
  }

  /** True where the epoch is to be rolled back and taken again: the next time what failed is left out. */
  takes(error: unknown): boolean {
    this.#spanning = null;
    this.#added = 0;
    if (error instanceof SpanningFault) {
      this.#condemned.set(error.commit, error.verdict);
      this.#isCareful = true;
      return true;
    }
    if (this.#isCareful || this.#options.policy === 'stop' || !isEventFault(error)) return false;
    this.#isCareful = true;
    return true;
  }

  /** Returns what was applied. @throws as `apply`; SpanningFault, for `takes`. */
  async applyPart(
    place: P,
    part: ReadPart,
    cuts: readonly Cut[],
    apply: ApplyChanges,
  ): Promise<readonly StructureChanges[]> {
    const { session, policy, slots } = this.#options;
    const store = session.letters;
    if (place.isFirst) this.#spanning = null;
    const [unusable] = part.unusable;
    if (unusable !== undefined && (policy === 'stop' || (policy === 'transaction' && unusable.position === null)))
      throw unusable.error;
    if (!this.#isCareful && part.unusable.length === 0 && !(await store.isAnyHeld())) {
      await apply(part.groups, cuts);
      this.#noteSpanning(place, part, cuts);
      return part.groups;
    }
    const links = await session.catalog.links(await this.#options.tables());
    const units = (this.#options.split ?? splitPart)(part, cuts);
    const needed = await slots.neededBy(units, links);
    const held = await store.findHeld(needed);
    if (!this.#isCareful && part.unusable.length === 0 && held.size === 0 && this.#condemned.size === 0) {
      await apply(part.groups, cuts);
      this.#noteSpanning(place, part, cuts);
      return part.groups;
    }
    return this.#applyCarefully(place, part, { units, cuts, links, held, apply });
  }

  async #applyCarefully(
    place: P,
    part: ReadPart,
    { units, cuts, links, held, apply }: CarefulWork,
  ): Promise<readonly StructureChanges[]> {
    const { session, policy, slots, writer } = this.#options;
    for (const record of part.unusable)
      if (record.position === null)
        for (const slot of heldTableSlots(await slots.tableOf(record.structure), record.key, links))
          held.set(slot, writer.idOf(record.topic, record.offset));
    const run = new CarefulPart({
      transaction: session.transaction,
      policy: policy === 'row' ? 'row' : 'transaction',
      mayLeaveOut: policy !== 'stop' && place.isLoadDone,
      part,
      links,
      held,
      slots,
      idOf: (topic, position) => writer.idOf(topic, position),
      condemned: this.#condemned,
      spanning: this.#spanning,
      continues: place.isLast ? null : (place.open ?? units.at(-1)?.commit ?? null),
      apply,
    });
    await run.apply(units);
    this.#added += await writer.write(place, run.verdicts, part.unusable, links);
    this.#noteSpanning(place, part, cuts);
    return run.applied;
  }

  /** The epoch in hand is committed. */
  async committed(now: number): Promise<void> {
    const { status, logger, relay } = this.#options;
    this.#isCareful = false;
    this.#condemned.clear();
    this.#spanning = null;
    const added = this.#added;
    this.#added = 0;
    if (added > 0) {
      logger.warn({ deadLetters: added }, `${added} events became dead letters: restage dlq list says why`);
      await relay();
    }
    const isDue = added > 0 || (status.deadLetters > 0 && now - this.#countedAt > COUNT_INTERVAL_MS);
    if (isDue) await this.#count(now);
  }

  /** Tables were loaded again, in the open transaction: what waited from before their snapshots is in the rows that came. */
  async supersede(loads: ReadonlyMap<string, { readonly snapshot: Lsn | null }>): Promise<void> {
    for (const [topic, { snapshot }] of loads)
      if (snapshot !== null) await this.#options.session.letters.supersede(topic, snapshot);
  }

  /** A life of the sink begins: an earlier one may have ended before it sent what it had made. */
  async begin(now: number): Promise<void> {
    await this.#options.relay();
    await this.#count(now);
  }

  async #count(now: number): Promise<void> {
    const { status, session } = this.#options;
    const { waiting, heldKeys } = await session.letters.counts();
    status.deadLetters = waiting;
    status.heldKeys = heldKeys;
    this.#countedAt = now;
  }

  /** The part's last transaction may go on in the next one. */
  #noteSpanning({ isLast, open }: PartOrder, { groups, unusable }: ReadPart, cuts: readonly Cut[]): void {
    if (isLast || open !== undefined) {
      this.#spanning = isLast ? null : (open ?? null);
      return;
    }
    // A TRUNCATE may be all that the part has of it.
    const last = [...groups.map(({ changes }) => changes.at(-1)), cuts.at(-1), unusable.at(-1)];
    for (const { position } of last.flatMap((one) => one ?? []))
      if (position !== null && position.commit > (this.#spanning ?? LSN_ZERO)) this.#spanning = position.commit;
  }
}

interface CarefulWork {
  readonly units: readonly Unit[];
  readonly cuts: readonly Cut[];
  readonly links: readonly KeyLink[];
  readonly held: Map<string, string>;
  readonly apply: ApplyChanges;
}
