import { isEventFault } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import type { Lsn } from '#core/lsn.ts';
import { comparePositions, type Position } from '#core/position.ts';
import type { QuarantinePolicy } from '#core/quarantine.ts';
import { readStreamHeaders } from '#core/record.ts';
import { PendingRecords, type RecordSink } from '#core/topic-batches.ts';
import type { EventShaper } from './event-shaper.ts';
import type { HeldLetters } from './held-letters.ts';
import type { LetterMaker, MadeLetter, Reason } from './letter-maker.ts';
import type { RangeRecord } from './ordered-records.ts';

/** Why a source transaction waits whole, whichever of its records comes next. */
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
  readonly shaper: Pick<EventShaper, 'introduce' | 'shape' | 'settle' | 'state'>;
  /** What else a TRUNCATE means to the rules; returns the ops. */
  readonly onTruncate: (truncation: Truncation, out: CarefulOutput) => Promise<string>;
  readonly held: HeldLetters;
  readonly maker: LetterMaker;
  readonly policy: QuarantinePolicy;
  /** By commit LSN: what was found out of transactions that reach over parts. */
  readonly verdicts: ReadonlyMap<Lsn, Verdict>;
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

/** What is left out together, in the source's order. */
interface Unit {
  /** null for a row of a load. */
  readonly commit: Lsn | null;
  readonly first: Position | null;
  readonly records: readonly RangeRecord[];
}

/**
 * Shapes a manifest's records so that what fails, and what touches a key that waits, is left out as dead letters (invariant 3): a source
 * transaction as a whole, or with policy `row` each change by itself. What it makes counts in `held` at once.
 */
export class CarefulEpoch {
  readonly #options: CarefulOptions;
  readonly letters: MadeLetter[] = [];
  readonly ended: EndedLetter[] = [];
  /** Of every transaction of which something was left out. */
  readonly verdicts = new Map<Lsn, Verdict>();

  constructor(options: CarefulOptions) {
    this.#options = options;
  }

  async run(
    records: readonly RangeRecord[],
    truncations: readonly Truncation[],
    out: CarefulOutput,
    signal: AbortSignal,
  ): Promise<void> {
    let truncated = 0;
    for (const unit of this.#split(records)) {
      for (
        let next = truncations[truncated];
        next !== undefined && isBefore(next, unit);
        next = truncations[truncated]
      ) {
        await this.#truncate(next, out);
        truncated += 1;
      }
      await this.#take(unit, truncations, out, signal);
    }
    for (const rest of truncations.slice(truncated)) await this.#truncate(rest, out);
  }

  #split(records: readonly RangeRecord[]): Unit[] {
    const units: Unit[] = [];
    let open: RangeRecord[] = [];
    for (const one of records) {
      // A tombstone belongs to its delete.
      if (one.record.value === null) continue;
      const position = readStreamHeaders(one.record)?.position ?? null;
      if (position === null || this.#options.policy === 'row') {
        units.push({ commit: position?.commit ?? null, first: position, records: [one] });
        continue;
      }
      if (units.at(-1)?.commit === position.commit) open.push(one);
      else units.push({ commit: position.commit, first: position, records: (open = [one]) });
    }
    return units;
  }

  async #take(unit: Unit, truncations: readonly Truncation[], out: CarefulOutput, signal: AbortSignal): Promise<void> {
    const { shaper } = this.#options;
    // What is no fault of an event stops the transformer: a structure that was never announced.
    for (const { range, record } of unit.records) introduceOf(shaper, range.topic, record, out.data);
    const verdict = this.#known(unit) ?? (await this.#shape(unit, out, signal));
    if (verdict === null) return;
    if (verdict.error !== null && !this.#mayLeaveOut(unit)) throw verdict.error;
    if (this.#options.policy !== 'row' && unit.commit !== null)
      this.#requireRowsOnly(unit.commit, truncations, verdict);
    for (const one of unit.records) this.#leaveOut(one, verdict);
    if (unit.commit !== null) this.verdicts.set(unit.commit, verdict);
  }

  /** Of a change that does not say whose transaction it is of, only policy `row` can. */
  #mayLeaveOut({ commit, records }: Unit): boolean {
    const { policy } = this.#options;
    return policy === 'row' || (policy === 'transaction' && (commit !== null || records.every(isOfLoad)));
  }

  /** What is known of a unit before it is shaped. Rows of a load do not touch each other. */
  #known({ commit, records }: Unit): Verdict | null {
    const { held, maker, policy, verdicts } = this.#options;
    if (records.every(isOfLoad)) return null;
    if (commit !== null && policy !== 'row') {
      // An earlier part of it waits, or a later one will.
      const [first] = held.ofCommit(commit);
      const told =
        verdicts.get(commit) ?? (first === undefined ? null : { letter: first.behind ?? first.id, error: null });
      // What is at fault may be in this part: then its reason is found once more.
      if (told !== null)
        return told.error === null && records.some((one) => maker.idOf(one) === told.letter) ? null : told;
    }
    for (const one of records) {
      if (!held.isAnyOf(one.range.topic)) continue;
      const letter = held.holderOf(maker.needed(one));
      if (letter !== null) return { letter, error: null };
    }
    return null;
  }

  async #shape(unit: Unit, out: CarefulOutput, signal: AbortSignal): Promise<Verdict | null> {
    const { shaper, maker } = this.#options;
    const pending = { data: new PendingRecords(), side: new PendingRecords(), floorOf: out.floorOf };
    shaper.state?.memory.state.mark();
    let ops = '';
    for (const one of unit.records) {
      try {
        ops += await shaper.shape(one.record, one.range, pending);
        ops += await shaper.settle(signal);
      } catch (error) {
        if (!isEventFault(error) || !(error instanceof RestageError)) throw error;
        shaper.state?.memory.state.undo();
        return { letter: maker.idOf(one), error };
      }
    }
    pending.data.passTo(out.data);
    pending.side.passTo(out.side);
    out.count(ops);
    return null;
  }

  #leaveOut(one: RangeRecord, { letter, error }: Verdict): void {
    const { maker, held } = this.#options;
    const reason: Reason =
      error !== null && maker.idOf(one) === letter ? { kind: 'fault', error } : { kind: 'behind', letter };
    const made = maker.make(one, reason);
    held.add(made.waiting);
    this.letters.push(made);
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

  #requireRowsOnly(commit: Lsn, truncations: readonly Truncation[], { error, letter }: Verdict): void {
    const met = truncations.find(({ position }) => position.commit === commit);
    if (met === undefined) return;
    throw new RestageError('dead_letters_wait', 'a transaction that must wait holds a TRUNCATE, which cannot wait', {
      where: `${error === null ? `behind dead letter ${letter}` : (error.where ?? '')}; topics ${met.topics.join(', ')}`,
      fix:
        error === null
          ? 'restage dlq retry or drop it first'
          : 'make the rule hold for the row, or set quarantine: row',
      cause: error,
    });
  }
}

function isOfLoad({ record }: RangeRecord): boolean {
  return record.headers.has('chunk');
}

function introduceOf(
  shaper: CarefulOptions['shaper'],
  topic: string,
  record: RangeRecord['record'],
  out: RecordSink,
): void {
  const version = readStreamHeaders(record)?.structure ?? record.headers.get('structure')?.readUInt32BE();
  if (version !== undefined) shaper.introduce(topic, version, out);
}

function isBefore({ position }: Truncation, { first }: Unit): boolean {
  return first !== null && comparePositions(position, first) < 0;
}
