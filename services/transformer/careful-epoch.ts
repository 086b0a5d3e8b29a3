import { isEventFault } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import { formatLsn, type Lsn } from '#core/lsn.ts';
import { comparePositions, type Position } from '#core/position.ts';
import type { QuarantinePolicy } from '#core/quarantine.ts';
import { readStreamHeaders } from '#core/record.ts';
import { ValidationFailure } from '#core/rules/validation.ts';
import { TransactionChecks } from '#core/rules/transaction-checks.ts';
import type { Unfit } from '#core/rules/validator.ts';
import type { KafkaRecord } from '#core/record.ts';
import { compareLetters, type WaitingLetter } from '#core/waiting-letter.ts';
import { PendingRecords, type RecordSink } from '#core/topic-batches.ts';
import { composeChanges } from './composed-change.ts';
import type { EpochRecords } from './event-shaper-options.ts';
import type { EventShaper } from './event-shaper.ts';
import type { HeldLetters } from './held-letters.ts';
import type { LetterMaker, MadeLetter, Reason } from './letter-maker.ts';
import type { RangeRecord } from './ordered-records.ts';

/** Why something waits. */
export interface Verdict {
  /** The letter at fault; where it is one of another transaction, all of this one waits behind it. */
  readonly letter: string;
  readonly error: RestageError | null;
}

/** A TRUNCATE of tables of the source. */
export interface Truncation {
  readonly position: Position;
  readonly topics: readonly string[];
  /** Of its transaction's commit, microseconds since 1970. */
  readonly time: bigint;
}

export interface CarefulOptions {
  readonly shaper: Pick<EventShaper, 'introduce' | 'shape' | 'settle' | 'addToChecks' | 'validator' | 'state'>;
  /** What else a TRUNCATE means to the rules; returns the ops. */
  readonly onTruncate: (truncation: Truncation, out: CarefulOutput) => Promise<string>;
  readonly held: HeldLetters;
  readonly maker: LetterMaker;
  readonly policy: QuarantinePolicy;
  /** Bytes of a letter, where later changes of a row that waits by itself may pass it; null where they wait. */
  readonly readLetter: ((letter: WaitingLetter, signal: AbortSignal) => Promise<KafkaRecord>) | null;
  /** By commit LSN: what was found out of transactions that reach over parts. */
  readonly verdicts: ReadonlyMap<Lsn, Verdict>;
  /**
   * What is judged of a transaction as a whole. `whole`: each is whole here. Of an epoch in several parts it is gathered over all of them, by
   * commit LSN, and is `judged` when they are written.
   */
  readonly checks: 'whole' | 'judged' | Map<Lsn, TransactionChecks>;
}

export interface CarefulOutput {
  readonly data: RecordSink;
  readonly side: RecordSink;
  readonly floorOf: (topic: string) => Lsn;
  readonly count: (ops: string) => void;
}

/** Letters that an epoch ends: whole tables were emptied or come anew. */
export interface EndedLetter {
  readonly id: string;
  readonly why: string;
}

/** A source transaction, as far as it is here, or a row of a load. */
interface Unit {
  /** null for a row of a load, and for what does not say whose transaction it is of. */
  readonly commit: Lsn | null;
  readonly records: readonly RangeRecord[];
}

/**
 * Shapes a manifest's records in the source's order so that what fails, and what touches a key that waits, is left out as dead letters
 * (invariant 3): a source transaction as a whole, or where that is the policy a change by itself. What it makes counts in `held` at once.
 */
export class CarefulEpoch {
  readonly #options: CarefulOptions;
  readonly #letters = new Map<string, MadeLetter>();
  readonly ended: EndedLetter[] = [];
  /** Of every transaction that is left out whole. */
  readonly verdicts = new Map<Lsn, Verdict>();
  #truncations: readonly Truncation[] = [];
  #truncated = 0;

  constructor(options: CarefulOptions) {
    this.#options = options;
  }

  get letters(): MadeLetter[] {
    return [...this.#letters.values()];
  }

  async run(
    records: readonly RangeRecord[],
    truncations: readonly Truncation[],
    out: CarefulOutput,
    signal: AbortSignal,
  ): Promise<void> {
    this.#truncations = truncations;
    for (const unit of splitUnits(records)) {
      // What is no fault of an event stops the transformer: a structure that was never announced.
      for (const { range, record } of unit.records) introduceOf(this.#options.shaper, range.topic, record, out.data);
      const verdict = this.#known(unit) ?? (await this.#shape(unit, out, signal));
      if (verdict !== null) await this.#leaveOutWhole(unit, verdict, out);
    }
    for (const rest of truncations.slice(this.#truncated)) await this.#truncate(rest, out);
  }

  /** What is known of a transaction before it is shaped. */
  #known({ commit, records }: Unit): Verdict | null {
    const { held, maker, verdicts } = this.#options;
    if (commit === null) return null;
    // An earlier part of it waits, or a later one will.
    const first = held.ofCommit(commit).find(({ scope }) => scope === 'transaction');
    const told =
      verdicts.get(commit) ?? (first === undefined ? null : { letter: first.behind ?? first.id, error: null });
    // What is at fault may be in this part: then its reason is found once more.
    if (told === null || (told.error === null && records.some((one) => maker.idOf(one) === told.letter))) return null;
    return told;
  }

  /** null where it passes, but for changes that wait by themselves. */
  async #shape(
    unit: Unit,
    out: CarefulOutput,
    signal: AbortSignal,
    left: ReadonlySet<RangeRecord> = new Set(),
  ): Promise<Verdict | null> {
    const { shaper, maker } = this.#options;
    const pending = { data: new PendingRecords(), side: new PendingRecords(), floorOf: out.floorOf };
    const state = shaper.state?.memory.state ?? null;
    const checks = this.#checksOf(unit);
    const [start] = unit.records;
    if (checks !== null && start !== undefined) checks.first ??= maker.idOf(start);
    let ops = '';
    if (start !== undefined) await this.#truncateBefore(start, out);
    state?.mark();
    shaper.validator.mark();
    for (const one of unit.records) {
      if (left.has(one)) continue;
      await this.#truncateBefore(one, out);
      const holder = this.#holderOf(one);
      if (holder?.scope === 'transaction') {
        state?.undo();
        return { letter: holder.id, error: null };
      }
      if (holder !== null) {
        const passed = await this.#pass(one, pending, signal);
        if (passed === null) this.#leaveOut(one, { kind: 'behind', letter: holder.id }, 'row');
        else ops += passed;
        continue;
      }
      try {
        ops += await shaper.shape(one.record, one.range, pending);
        ops += await shaper.settle(signal);
        if (checks !== null) this.#addTo(checks, one, unit, out);
      } catch (error) {
        const fault = requireFault(error);
        const action = this.#actionOf(fault, unit);
        if (action === 'stop') throw fault;
        if (action !== 'row') {
          state?.undo();
          return { letter: maker.idOf(one), error: fault };
        }
        if (state !== null) return this.#shapeWithout(new Map([[one, fault]]), unit, out, signal, left);
        this.#leaveOut(one, { kind: 'fault', error: fault }, 'row');
      }
    }
    const unfit = checks === null ? [] : await this.#judge(unit, checks);
    const [first] = unfit;
    if (first !== undefined) {
      if (this.#actionOf(first.failure, unit) === 'row')
        return this.#shapeWithout(this.#recordsOf(unit, unfit), unit, out, signal, left);
      state?.undo();
      return { letter: first.letter, error: first.failure };
    }
    pending.data.passTo(out.data);
    pending.side.passTo(out.side);
    out.count(ops);
    return null;
  }

  /**
   * A later change of a row that waits, with all that waits of it in one; null where it must wait too. Nothing of it is in the rules' state, which
   * would have to be taken back: there it waits.
   */
  async #pass(one: RangeRecord, out: EpochRecords, signal: AbortSignal): Promise<string | null> {
    const { shaper, held, maker, readLetter } = this.#options;
    if (readLetter === null || shaper.state != null) return null;
    const ids = new Set(held.holdersOf(maker.needed(one), new Set()));
    const letters = [...ids].flatMap((id) => held.get(id) ?? []).toSorted(compareLetters);
    if (letters.some(({ scope, topic }) => scope !== 'row' || topic !== one.range.topic)) return null;
    try {
      const waiting: KafkaRecord[] = [];
      for (const letter of letters) waiting.push(await readLetter(letter, signal));
      const composed = composeChanges(waiting, one.record);
      if (composed === null) return null;
      let ops = '';
      if (composed.kind === 'record') {
        ops += await shaper.shape(composed.record, one.range, out);
        ops += await shaper.settle(signal);
      }
      for (const { id } of letters) {
        held.remove(id);
        this.ended.push({ id, why: 'a later change of its row passed, with what it changed' });
      }
      return ops;
    } catch (error) {
      if (requireFault(error) instanceof ValidationFailure && (error as ValidationFailure).action === 'stop')
        throw error;
      return null;
    }
  }

  #recordsOf({ records }: Unit, unfit: readonly Unfit[]): Map<RangeRecord, RestageError> {
    const faults = new Map(unfit.map(({ letter, failure }) => [letter, failure]));
    const wrong = new Map<RangeRecord, RestageError>();
    for (const one of records) {
      const failure = faults.get(this.#options.maker.idOf(one));
      if (failure !== undefined) wrong.set(one, failure);
    }
    return wrong;
  }

  #addTo(checks: TransactionChecks, one: RangeRecord, { commit }: Unit, { floorOf }: CarefulOutput): void {
    const { shaper, maker } = this.#options;
    shaper.addToChecks(checks, one.record, one.range, {
      isWhole: commit !== null,
      letter: () => maker.idOf(one),
      isComparable: (topic) =>
        commit === null ? shaper.state?.areLoadedTogether(topic, one.range.topic) === true : commit >= floorOf(topic),
    });
  }

  /** What the rules remember of these rows is taken back with all of the transaction, which is shaped once more without them. */
  #shapeWithout(
    wrong: ReadonlyMap<RangeRecord, RestageError>,
    unit: Unit,
    out: CarefulOutput,
    signal: AbortSignal,
    left: ReadonlySet<RangeRecord>,
  ): Promise<Verdict | null> {
    const { shaper, maker } = this.#options;
    shaper.state?.memory.state.undo();
    shaper.validator.undo([...wrong.values()]);
    for (const [one, error] of wrong) {
      this.#leaveOut(one, { kind: 'fault', error }, 'row');
      this.#requireRowsOnly(unit, { letter: maker.idOf(one), error });
    }
    return this.#shape(unit, out, signal, new Set([...left, ...wrong.keys()]));
  }

  /** null where the unit is judged with others of its epoch, or was. */
  #checksOf({ commit }: Unit): TransactionChecks | null {
    const { checks } = this.#options;
    if (checks === 'judged') return commit === null ? new TransactionChecks() : null;
    if (checks === 'whole' || commit === null) return new TransactionChecks();
    const known = checks.get(commit) ?? new TransactionChecks();
    checks.set(commit, known);
    return known;
  }

  /** None where all passes, or more of the transaction is to come. @throws ValidationFailure that is to stop. */
  async #judge({ commit }: Unit, checks: TransactionChecks): Promise<readonly Unfit[]> {
    const { shaper, checks: kept } = this.#options;
    const state = shaper.state?.memory.state ?? null;
    if (commit !== null && kept !== 'whole') {
      if (state !== null) await checks.sift(state);
      return [];
    }
    const where = `transaction ${commit === null ? '' : formatLsn(commit)}`;
    const unfit = await shaper.validator.judge(checks, state, where);
    if (unfit[0]?.failure.action === 'stop') throw unfit[0].failure;
    return unfit;
  }

  /** The letter that a change waits behind. Rows of a load do not touch each other. */
  #holderOf(one: RangeRecord): { readonly id: string; readonly scope: 'row' | 'transaction' } | null {
    const { held, maker } = this.#options;
    if (isOfLoad(one) || !held.isAnyOf(one.range.topic)) return null;
    const id = held.holderOf(maker.needed(one));
    return id === null ? null : { id, scope: held.get(id)?.scope ?? 'transaction' };
  }

  /** Of a change that does not say whose transaction it is of, only policy `row` can. */
  #actionOf(fault: RestageError, { commit, records }: Unit): 'stop' | 'transaction' | 'row' {
    const { policy } = this.#options;
    const action = fault instanceof ValidationFailure && fault.action !== 'count' ? fault.action : policy;
    if (action !== 'transaction' || commit !== null) return action;
    return records.every(isOfLoad) ? 'row' : 'stop';
  }

  #requireRowsOnly({ commit }: Unit, verdict: Verdict): void {
    const met = this.#truncations.find(({ position }) => commit !== null && position.commit === commit);
    if (met !== undefined) throw holdsTruncate(met, verdict);
  }

  async #leaveOutWhole(unit: Unit, verdict: Verdict, out: CarefulOutput): Promise<void> {
    const { commit, records } = unit;
    if (commit === null) throw new RestageError('bug', 'what is of no transaction waits with one');
    this.#requireRowsOnly(unit, verdict);
    for (const one of records) {
      await this.#truncateBefore(one, out);
      const id = this.#options.maker.idOf(one);
      const isAtFault = verdict.error !== null && id === verdict.letter;
      this.#leaveOut(
        one,
        isAtFault ? { kind: 'fault', error: verdict.error } : { kind: 'behind', letter: verdict.letter },
        'transaction',
      );
    }
    this.verdicts.set(commit, verdict);
  }

  #leaveOut(one: RangeRecord, reason: Reason, scope: 'row' | 'transaction'): void {
    const { maker, held } = this.#options;
    const made = maker.make(one, reason, scope);
    held.add(made.waiting);
    this.#letters.set(made.waiting.id, made);
  }

  async #truncateBefore({ record }: RangeRecord, out: CarefulOutput): Promise<void> {
    const position = readStreamHeaders(record)?.position ?? null;
    if (position === null) return;
    for (let next = this.#truncations[this.#truncated]; next !== undefined; next = this.#truncations[this.#truncated]) {
      if (comparePositions(next.position, position) >= 0) return;
      await this.#truncate(next, out);
      this.#truncated += 1;
    }
  }

  /** The rows that waited are gone with all others. */
  async #truncate(truncation: Truncation, out: CarefulOutput): Promise<void> {
    const { position, topics } = truncation;
    for (const topic of topics)
      for (const { id } of this.#options.held.ofTopic(topic, position)) {
        this.#options.held.remove(id);
        this.ended.push({ id, why: 'its table was truncated' });
      }
    out.count(await this.#options.onTruncate(truncation, out));
  }
}

function splitUnits(records: readonly RangeRecord[]): Unit[] {
  const units: Unit[] = [];
  let open: RangeRecord[] = [];
  for (const one of records) {
    // A tombstone belongs to its delete.
    if (one.record.value === null) continue;
    const commit = readStreamHeaders(one.record)?.position.commit ?? null;
    if (commit !== null && units.at(-1)?.commit === commit) open.push(one);
    else units.push({ commit, records: (open = [one]) });
  }
  return units;
}

/** @throws what is no fault of an event. */
function requireFault(error: unknown): RestageError {
  if (error instanceof RestageError && isEventFault(error)) return error;
  throw error;
}

function holdsTruncate({ topics }: Truncation, { error, letter }: Verdict): RestageError {
  return new RestageError('dead_letters_wait', 'a transaction that must wait holds a TRUNCATE, which cannot wait', {
    where: `${error === null ? `behind dead letter ${letter}` : (error.where ?? '')}; topics ${topics.join(', ')}`,
    fix:
      error === null ? 'restage dlq retry or drop it first' : 'make the rule hold for the row, or set quarantine: row',
    cause: error,
  });
}

function isOfLoad({ record }: RangeRecord): boolean {
  return record.headers.has('chunk');
}

function introduceOf(
  shaper: Pick<EventShaper, 'introduce'>,
  topic: string,
  record: RangeRecord['record'],
  out: RecordSink,
): void {
  const version = readStreamHeaders(record)?.structure ?? record.headers.get('structure')?.readUInt32BE();
  if (version !== undefined) shaper.introduce(topic, version, out);
}
