import { isEventFault, sqlStateOf } from '#core/error-policy.ts';
import { describeError, RestageError } from '#core/errors.ts';
import type { KeyLink } from '#core/key-slots.ts';
import { formatLsn, type Lsn } from '#core/lsn.ts';
import type { Position } from '#core/position.ts';
import { formatTable } from '#core/table-name.ts';
import { settleConstraints, type Cut } from './epoch-apply.ts';
import type { ReadPart, StructureChanges } from './part-reader.ts';
import { groupsOf, splitUnit, type Item, type Unit } from './part-units.ts';
import { refusedChange } from './refusal.ts';
import type { SlotBook } from './slot-book.ts';
import type { TargetTransaction } from './target.ts';

/** Why an event is left out. */
export interface Verdict {
  readonly code: string;
  readonly error: string;
  /** The dead letter that it waits behind; null for the cause itself. */
  readonly behind: string | null;
}

/** A verdict's event, and what will wait at it. */
export interface Judged {
  readonly item: Item | Cut;
  readonly verdict: Verdict;
  readonly slots: readonly string[];
}

/** A transaction that began in an earlier part is to be left out: the epoch has to be taken again. */
export class SpanningFault extends Error {
  override readonly name = 'SpanningFault';
  readonly commit: Lsn;
  readonly verdict: Verdict;

  constructor(commit: Lsn, verdict: Verdict) {
    super('a transaction that began in an earlier part is left out');
    this.commit = commit;
    this.verdict = verdict;
  }
}

export interface CarefulOptions {
  readonly transaction: Pick<TargetTransaction, 'attempt' | 'settle'>;
  readonly policy: 'transaction' | 'row';
  /** False: a fault is thrown. What is held waits all the same. */
  readonly mayLeaveOut: boolean;
  readonly part: ReadPart;
  readonly links: readonly KeyLink[];
  /** Held slots, each with the dead letter to wait behind; grows. */
  readonly held: Map<string, string>;
  readonly slots: SlotBook;
  readonly idOf: (topic: string, position: Position) => string;
  /** Grows by transactions that begin in this part. */
  readonly condemned: Map<Lsn, Verdict>;
  readonly spanning: Lsn | null;
  /** The transaction that may go on in the next part. */
  readonly continues: Lsn | null;
  readonly apply: (groups: readonly StructureChanges[], cuts: readonly Cut[]) => Promise<void>;
}

/** Finds what the target refuses by halves, in the source's order: so many attempts as a bad transaction's number has digits. */
export class CarefulPart {
  readonly #options: CarefulOptions;
  readonly #applied: Unit[] = [];
  readonly verdicts: Judged[] = [];

  constructor(options: CarefulOptions) {
    this.#options = options;
  }

  get applied(): readonly StructureChanges[] {
    return groupsOf(this.#options.part, this.#applied);
  }

  /** @throws SpanningFault, RestageError dead_letters_wait, and what is no event's fault. */
  async apply(units: readonly Unit[]): Promise<void> {
    const open = await this.#withoutHeld(units);
    const [first] = open;
    if (first === undefined) return;
    const fault = await this.#attempt(open);
    if (fault === null) {
      this.#applied.push(...open);
      return;
    }
    if (open.length > 1) {
      const middle = Math.ceil(open.length / 2);
      await this.apply(open.slice(0, middle));
      await this.apply(open.slice(middle));
      return;
    }
    if (this.#options.policy === 'row' && first.items.length + first.cuts.length > 1) {
      await this.apply(splitUnit(first));
      return;
    }
    await this.#leaveOut(first, rootOf(first, fault), verdictOf(fault));
  }

  /** Leaves out what waits: the whole transaction, or the change alone. */
  async #withoutHeld(units: readonly Unit[]): Promise<Unit[]> {
    const { policy, condemned, links, slots } = this.#options;
    const open: Unit[] = [];
    for (const unit of units) {
      const known = condemned.get(unit.commit);
      if (known !== undefined) {
        await this.#leaveOut(unit, null, known);
        continue;
      }
      const kept: Item[] = [];
      const cuts: Cut[] = [];
      let isOut = false;
      for (const item of [...unit.cuts, ...unit.items]) {
        const verdict =
          item.kind === 'unusable' ? verdictOf(item.record.error) : this.#heldBy(await slots.needed(item, links));
        if (verdict === null) {
          if (item.kind === 'change') kept.push(item);
          else if (item.kind !== 'unusable') cuts.push(item);
          continue;
        }
        if (policy === 'transaction') {
          await this.#leaveOut(unit, item, verdict);
          isOut = true;
          break;
        }
        await this.#judge(item, verdict);
      }
      if (!isOut && kept.length + cuts.length > 0) open.push({ ...unit, items: kept, cuts });
    }
    return open;
  }

  #heldBy(needed: readonly string[]): Verdict | null {
    for (const slot of needed) {
      const behind = this.#options.held.get(slot);
      if (behind !== undefined) return { code: 'held', error: `waits behind dead letter ${behind}`, behind };
    }
    return null;
  }

  /** null when it went in; else why the target refused, and nothing of it is there. */
  async #attempt(units: readonly Unit[]): Promise<Error | null> {
    const { transaction, part, continues, apply, mayLeaveOut } = this.#options;
    try {
      await transaction.attempt(async () => {
        await apply(
          groupsOf(part, units),
          units.flatMap(({ cuts }) => cuts),
        );
        if (units.every(({ commit }) => commit !== continues)) await settleConstraints(transaction);
      });
      return null;
    } catch (error) {
      if (!mayLeaveOut || !(error instanceof Error) || !isEventFault(error)) throw error;
      return error;
    }
  }

  /** `root`: the event that is to blame; null where it stands in an earlier part. The others wait behind it. */
  async #leaveOut(unit: Unit, root: Item | Cut | null, verdict: Verdict): Promise<void> {
    const { condemned, spanning, continues, policy } = this.#options;
    const behind = root === null ? (verdict.behind ?? '') : this.#idOf(root);
    const rest = { code: 'held', error: `waits with its transaction for dead letter ${behind}`, behind };
    if (policy === 'transaction' && !condemned.has(unit.commit)) {
      if (unit.commit === spanning) throw new SpanningFault(unit.commit, verdict);
      if (unit.commit === continues) condemned.set(unit.commit, rest);
    }
    for (const item of [...unit.cuts, ...unit.items])
      await this.#judge(item, item === root ? verdict : root === null ? verdict : rest);
  }

  async #judge(item: Item | Cut, verdict: Verdict): Promise<void> {
    const { slots, links, held } = this.#options;
    if (item.kind === 'alter') {
      throw new RestageError('dead_letters_wait', "a table's columns change, and dead letters of it wait", {
        where: `table ${formatTable(item.to)}, LSN ${formatLsn(item.position.commit)}; ${verdict.error}`,
        fix: 'restage dlq retry or restage dlq drop, then start the sink again',
      });
    }
    const own = await slots.held(item, links);
    const id = this.#idOf(item);
    for (const slot of own) held.set(slot, id);
    this.verdicts.push({ item, verdict, slots: own });
  }

  #idOf(item: Item | Cut): string {
    return this.#options.idOf(topicOf(item), item.position);
  }
}

/** TRUNCATE and changes of columns stand in the manifest, not on a topic: they go by the topic of their first table. */
export function topicOf(item: Item | Cut): string {
  switch (item.kind) {
    case 'change':
      return item.group.structure.topic;
    case 'unusable':
      return item.record.topic;
    case 'truncate':
      return `${item.tables[0]?.structure.topic ?? ''} TRUNCATE`;
    case 'alter':
      return item.to.topic;
  }
}

/** The change that the refusal names; the first one where it names none. */
function rootOf(unit: Unit, fault: Error): Item | Cut | null {
  const named = fault instanceof RestageError ? refusedChange(fault) : null;
  const found = unit.items.find((item) => item.kind === 'change' && item.change === named);
  return found ?? unit.items[0] ?? unit.cuts[0] ?? null;
}

function verdictOf(fault: Error): Verdict {
  const code = fault instanceof RestageError ? fault.code : sqlStateOf(fault);
  return { code, error: describeError(fault), behind: null };
}
