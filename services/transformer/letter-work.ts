import type { EpochReader } from '#core/epoch-reader.ts';
import { isEventFault } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import type { LetterCommand, LetterOutcome } from '#core/letter-command.ts';
import type { Lsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import { TransactionChecks } from '#core/rules/transaction-checks.ts';
import { TopicBatches } from '#core/topic-batches.ts';
import { compareLetters, type WaitingLetter } from '#core/waiting-letter.ts';
import type { EventShaper } from './event-shaper.ts';
import { CorrectedRows } from './corrected-rows.ts';
import type { HeldLetters } from './held-letters.ts';
import type { OutputQuarantine } from './output-quarantine.ts';
import { readLetter } from './read-letter.ts';

export interface LetterWorkOptions {
  readonly quarantine: OutputQuarantine;
  readonly shaper: EventShaper;
  readonly reader: EpochReader;
  /** By raw topic: what committed before it is in the table's snapshot. */
  readonly floorOf: (topic: string) => Lsn;
}

/** An epoch that a command asks for: of one source transaction (or row) that waited, or of none. */
export interface LetterEpoch {
  readonly kind: 'stream' | 'empty';
  readonly data: TopicBatches;
  readonly side: TopicBatches;
  readonly ops: string;
}

/** Writes it with the position that the output has. */
export type WriteLetters = (epoch: LetterEpoch) => Promise<void>;

/** Where the events of an epoch stand that is written now. */
export interface LetterPlace {
  readonly manifest: Manifest;
  readonly commit: Lsn;
  /** The first one's ordinal: above those of every event before. */
  readonly ordinal: number;
}

/** Obeys commands for dead letters. Each epoch it writes ends letters together with what it brings (invariants 2 and 3). */
export class LetterWork {
  readonly #options: LetterWorkOptions;
  readonly #held: HeldLetters;

  constructor(options: LetterWorkOptions) {
    this.#options = options;
    this.#held = options.quarantine.held;
  }

  obey(
    command: LetterCommand,
    place: () => LetterPlace,
    write: WriteLetters,
    signal: AbortSignal,
  ): Promise<LetterOutcome[]> {
    return command.action === 'drop' ? this.#drop(command, write) : this.#retry(command, place, write, signal);
  }

  async #drop({ id, ids, behind, reason, isDryRun }: LetterCommand, write: WriteLetters): Promise<LetterOutcome[]> {
    const named = (ids ?? []).filter((one) => this.#held.get(one) !== undefined);
    const all = this.#withBehind(named);
    const dropped = behind === 'drop' ? all : named;
    const freed = behind === 'drop' ? [] : all.filter((one) => !named.includes(one));
    const outcomes: LetterOutcome[] = [
      ...dropped.map((one) => ({ id: one, state: 'dropped', code: '', error: '' }) as const),
      ...freed.map((one) => ({ id: one, state: 'freed', code: '', error: '' }) as const),
    ];
    if (isDryRun || dropped.length === 0) return outcomes;
    const side = new TopicBatches();
    for (const one of dropped) {
      this.#held.remove(one);
      this.#options.quarantine.appendAudit(side, { id: one, action: 'dropped', reason, set: {}, command: id });
    }
    for (const one of freed) {
      const letter = this.#held.get(one);
      if (letter !== undefined && named.includes(letter.behind ?? ''))
        this.#held.add({ ...letter, behind: null, code: 'freed', error: 'what it waited behind was dropped' });
    }
    await write({ kind: 'empty', data: new TopicBatches(), side, ops: '' });
    return outcomes;
  }

  /** Oldest first; what still waits holds back what needs its rows, so that the order of each key is kept. */
  async #retry(
    command: LetterCommand,
    place: () => LetterPlace,
    write: WriteLetters,
    signal: AbortSignal,
  ): Promise<LetterOutcome[]> {
    const named = command.ids ?? this.#held.all().map(({ id }) => id);
    const chosen = new Set(this.#withBehind(named.filter((id) => this.#held.get(id) !== undefined)));
    const rows = new CorrectedRows(command, this.#options.shaper);
    const outcomes: LetterOutcome[] = [];
    const kept: WaitingLetter[] = [];
    for (const unit of this.#units(chosen)) {
      if (signal.aborted) return outcomes;
      const fault = await this.#retryUnit(unit, { command, rows, place, write }, signal);
      for (const letter of unit)
        outcomes.push({
          id: letter.id,
          state: fault === null ? 'retried' : 'waiting',
          code: fault?.code ?? '',
          error: fault?.message ?? '',
        });
      if (fault !== null) kept.push(...unit.map((letter) => ({ ...letter, ...reasonOf(letter, fault) })));
    }
    if (kept.length > 0 && !command.isDryRun) await this.#keep(kept, command, write);
    if (command.isDryRun) this.#held.undo();
    return outcomes;
  }

  /** null where it was written; else why it still waits. */
  async #retryUnit(
    unit: readonly WaitingLetter[],
    { command, rows, place, write }: RetryTools,
    signal: AbortSignal,
  ): Promise<RestageError | null> {
    const { quarantine, shaper } = this.#options;
    const { manifest, commit, ordinal } = place();
    const maker = quarantine.makerFor(manifest);
    const own = new Set(unit.map(({ id }) => id));
    const out = { data: new TopicBatches(), side: new TopicBatches(), floorOf: this.#options.floorOf };
    const checks = new TransactionChecks();
    let ops = '';
    try {
      for (const [index, letter] of unit.entries()) {
        const range = { topic: letter.topic, partition: letter.partition };
        const record = await readLetter(this.#options.reader, letter, signal);
        const needed = maker.needed({ range: { ...range, first: '', last: '', count: 1 }, record });
        const holder = this.#held.holdersOf(needed, own).find((id) => isEarlier(this.#held.get(id), letter));
        if (holder !== undefined)
          return new RestageError('dead_letters_wait', `it waits behind dead letter ${holder}`, {});
        const corrected = rows.correct(letter, record, { commit, ordinal: ordinal + index });
        ops += await shaper.shape(corrected, range, out);
        ops += await shaper.settle(signal);
        const isWhole = letter.scope === 'transaction';
        shaper.addToChecks(checks, corrected, range, { isWhole, letter: () => letter.id, isComparable: () => true });
      }
      const state = shaper.state?.memory.state ?? null;
      const [unfit] = await shaper.validator.judge(checks, state, `dead letter ${unit[0]?.id ?? ''}`);
      if (unfit !== undefined) throw unfit.failure;
    } catch (error) {
      shaper.forgetIntroduced();
      if (!(error instanceof RestageError) || !(isEventFault(error) || error.code === 'history_lost')) throw error;
      return error;
    }
    for (const { id } of unit) {
      this.#held.remove(id);
      quarantine.appendAudit(out.side, {
        id,
        action: 'retried',
        reason: command.reason,
        set: rows.setOf(id),
        command: command.id,
      });
    }
    if (command.isDryRun) shaper.forgetIntroduced();
    else await write({ kind: 'stream', ...out, ops });
    return null;
  }

  async #keep(kept: readonly WaitingLetter[], { id }: LetterCommand, write: WriteLetters): Promise<void> {
    const side = new TopicBatches();
    for (const letter of kept) {
      this.#held.add(letter);
      this.#options.quarantine.appendAudit(side, {
        id: letter.id,
        action: 'kept',
        reason: `${letter.code}: ${letter.error}`,
        set: {},
        command: id,
      });
    }
    await write({ kind: 'empty', data: new TopicBatches(), side, ops: '' });
  }

  /** Of those chosen, in the source's order; a transaction whole, where that is the policy. */
  #units(chosen: ReadonlySet<string>): WaitingLetter[][] {
    const units = new Map<string, WaitingLetter[]>();
    for (const letter of this.#held.all()) {
      const { position, id, scope } = letter;
      const name = position === null || scope === 'row' ? id : String(position.commit);
      units.set(name, [...(units.get(name) ?? []), letter]);
    }
    return [...units.values()].filter((unit) => unit.some(({ id }) => chosen.has(id)));
  }

  /** These, and what waits behind them. */
  #withBehind(ids: readonly string[]): string[] {
    const found = new Set(ids);
    for (let before = -1; before !== found.size;) {
      before = found.size;
      for (const { id, behind } of this.#held.all()) if (behind !== null && found.has(behind)) found.add(id);
    }
    return [...found];
  }
}

interface RetryTools {
  readonly command: LetterCommand;
  readonly rows: CorrectedRows;
  readonly place: () => LetterPlace;
  readonly write: WriteLetters;
}

function isEarlier(holder: WaitingLetter | undefined, letter: WaitingLetter): boolean {
  return holder !== undefined && compareLetters(holder, letter) < 0;
}

/** The one at fault says what it is now; what waits behind another keeps its word. */
function reasonOf({ behind, code, error }: WaitingLetter, fault: RestageError): { code: string; error: string } {
  if (behind !== null) return { code, error };
  const where = fault.where === undefined ? '' : ` (${fault.where})`;
  return { code: fault.code, error: `${fault.message}${where}` };
}
