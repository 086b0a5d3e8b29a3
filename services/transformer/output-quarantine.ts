import { appendDeadLetters } from '#adapters/kafka/dead-letter-topic.ts';
import { isEventFault } from '#core/error-policy.ts';
import { RestageError } from '#core/errors.ts';
import type { LetterAudit } from '#core/letter-audit.ts';
import { formatLsn, LSN_ZERO, type Lsn } from '#core/lsn.ts';
import type { Manifest, StoredManifest } from '#core/manifest.ts';
import type { QuarantinePolicy } from '#core/quarantine.ts';
import { NO_HEADERS } from '#core/fixed-headers.ts';
import { ValidationFailure } from '#core/rules/validation.ts';
import type { ValidationConfig } from '#core/rules/validation-config.ts';
import type { TransactionChecks } from '#core/rules/transaction-checks.ts';
import type { ServiceStatus } from '#core/status.ts';
import type { RecordSink, TopicBatches } from '#core/topic-batches.ts';
import { auditTopic } from '#core/topic-names.ts';
import { writeWaitingLetter } from '#core/waiting-letter.ts';
import {
  CarefulEpoch,
  type CarefulOptions,
  type CarefulOutput,
  type EndedLetter,
  type Verdict,
} from './careful-epoch.ts';
import type { EpochContent } from './epoch-content.ts';
import type { EventShaper } from './event-shaper.ts';
import type { HeldLetters } from './held-letters.ts';
import { truncateRemembered } from './reached-rows.ts';
import { LetterMaker, type MadeLetter } from './letter-maker.ts';

export interface QuarantineParts {
  readonly policy: QuarantinePolicy;
  /** Where later changes of a row that waits by itself may pass it: reads its letter. Absent is null. */
  readonly readLetter?: CarefulOptions['readLetter'];
  /** The pipeline's name. */
  readonly name: string;
  /** `transformer <output>`. */
  readonly service: string;
  /** As people name it. */
  readonly output: string;
  /** Its topic of what waits. */
  readonly topic: string;
  /** As they were when the last epoch was written. */
  readonly held: HeldLetters;
  readonly shaper: EventShaper;
  readonly status: ServiceStatus;
  readonly clock: () => number;
}

/** More than so many that wait are no matter of single rows; they are held in memory (invariant 6). */
const MOST_WAITING = 100_000;
const NOTHING: RecordSink = { bytes: 0, append: () => undefined, appendRow: () => undefined };

/** What becomes of events that an output's rules do not take: dead letters, in the Kafka transaction of their epoch (invariants 2 and 3). */
export class OutputQuarantine {
  readonly #parts: QuarantineParts;
  readonly #since: number;
  #maker: LetterMaker | null = null;
  #letters: MadeLetter[] = [];
  #ended: EndedLetter[] = [];
  /** Of the epoch in hand: what its later parts tell of transactions that reach over parts. */
  #seen: { readonly epoch: number; readonly verdicts: ReadonlyMap<Lsn, Verdict> } | null = null;

  constructor(parts: QuarantineParts) {
    this.#parts = parts;
    this.#since = parts.clock();
    this.#count();
  }

  get held(): HeldLetters {
    return this.#parts.held;
  }

  /** Each change is to be looked at: something waits, or this epoch holds what will. */
  get isCareful(): boolean {
    const { held, shaper } = this.#parts;
    return held.size > 0 || shaper.checks.areOfTransactions || (this.#seen?.verdicts.size ?? 0) > 0;
  }

  /** Whether the epoch is to be shaped again with care, after this error. */
  takes(error: unknown): boolean {
    if (error instanceof ValidationFailure) return error.action !== 'stop';
    return this.#parts.policy !== 'stop' && isEventFault(error);
  }

  /** Whether the later parts of the epoch have to be seen before its first is written: a transaction is left out whole or not at all. */
  mustSeeAhead({ kind, part, last, epoch }: Manifest): boolean {
    return kind === 'stream' && (part > 1 || !last) && this.#leavesOutWhole && this.#seen?.epoch !== epoch;
  }

  /**
   * The parts of an epoch from the one in hand to its last, to see what of it is left out; nothing is kept but that. `begun`: of parts before
   * it, which are written, the last transaction.
   */
  async seeAhead(
    epoch: number,
    parts: AsyncIterable<EpochContent>,
    begun: Lsn | null,
    signal: AbortSignal,
  ): Promise<void> {
    const verdicts = new Map<Lsn, Verdict>();
    const checks = new Map<Lsn, TransactionChecks>();
    const nowhere: CarefulOutput = { data: NOTHING, side: NOTHING, floorOf: () => LSN_ZERO, count: () => undefined };
    for await (const { stored, records, truncations } of parts) {
      const run = this.#careful(stored, verdicts, checks);
      await run.run(records, truncations, nowhere, signal);
      for (const [commit, verdict] of run.verdicts) verdicts.set(commit, verdict);
    }
    this.#parts.held.undo();
    this.#parts.shaper.forgetIntroduced();
    await this.#judge(checks, verdicts, begun);
    this.#seen = { epoch, verdicts };
  }

  async shape({ stored, records, truncations }: EpochContent, out: CarefulOutput, signal: AbortSignal): Promise<void> {
    const isSeen = this.#seen?.epoch === stored.manifest.epoch;
    const verdicts = isSeen ? (this.#seen?.verdicts ?? new Map()) : new Map<Lsn, Verdict>();
    // Transactions of an epoch in parts were judged when all of them were seen.
    const run = this.#careful(stored, verdicts, isSeen ? 'judged' : 'whole');
    await run.run(records, truncations, out, signal);
    this.#letters.push(...run.letters);
    this.#ended.push(...run.ended);
    if (this.#parts.held.size > MOST_WAITING)
      throw new RestageError('dead_letters_wait', `more than ${MOST_WAITING} dead letters would wait`, {
        where: `output ${this.#parts.output}`,
        fix: 'so many are no matter of single rows: mend the rule, and start the output anew under its next version; or restage dlq drop',
      });
  }

  /** Tables come anew, with what waited of them. */
  supersede({ kind, tables = [] }: Manifest): void {
    if (kind !== 'plan' && kind !== 'announce') return;
    for (const { topic } of tables)
      for (const { id } of this.#parts.held.ofTopic(topic, null)) {
        this.#parts.held.remove(id);
        this.#ended.push({ id, why: 'superseded: its table is loaded again' });
      }
  }

  /** @throws RestageError dead_letters_wait where columns change of a table of which some wait: their bytes are of the columns before. */
  requireSettled({ control }: Manifest): void {
    for (const entry of control) if (entry.kind === 'ddl') this.#requireNoneOf(entry.topic, `LSN ${entry.commit}`);
  }

  #requireNoneOf(topic: string, place: string): void {
    const [first, ...others] = this.#parts.held.ofTopic(topic, null);
    if (first === undefined) return;
    throw new RestageError('dead_letters_wait', 'columns change of a table of which dead letters wait', {
      where: `${place}, topic ${topic}; dead letter ${first.id}${others.length === 0 ? '' : ` and ${others.length} more`}`,
      fix: 'restage dlq retry or drop them (the transformer obeys when it starts), then start it again',
    });
  }

  /** Puts what came of the epoch among the records of its transaction. */
  append(side: TopicBatches): void {
    const { name, topic, held } = this.#parts;
    const changes = held.takeChanges();
    // One that waits no longer by the end of the epoch that made it was never seen: it stays in `<name>.dlq` alone.
    appendDeadLetters(
      side,
      name,
      this.#letters.map(({ record }) => record),
    );
    for (const [id, letter] of changes)
      side.append(topic, id, letter === null ? null : writeWaitingLetter(letter), NO_HEADERS);
    for (const { id, why } of this.#ended)
      this.appendAudit(side, { id, action: 'dropped', reason: why, set: {}, command: null });
  }

  appendAudit(side: RecordSink, audit: Omit<LetterAudit, 'output' | 'at'>): void {
    const { name, output, clock } = this.#parts;
    const record: LetterAudit = { ...audit, output, at: new Date(clock()).toISOString() };
    side.append(auditTopic(name), audit.id, JSON.stringify(record), NO_HEADERS);
  }

  /** The epoch is written; returns how many dead letters it brought. */
  written({ kind, last }: Manifest): number {
    const made = this.#letters.length;
    this.#letters = [];
    this.#ended = [];
    if (kind === 'stream' && last) this.#seen = null;
    this.#count();
    return made;
  }

  makerFor({ incarnation }: Manifest): LetterMaker {
    const { shaper, service, clock } = this.#parts;
    return (this.#maker ??= new LetterMaker(shaper, { service, incarnation, clock }));
  }

  #careful(
    stored: StoredManifest,
    verdicts: ReadonlyMap<Lsn, Verdict>,
    checks: CarefulOptions['checks'],
  ): CarefulEpoch {
    const { shaper, held, policy, readLetter = null } = this.#parts;
    const maker = this.makerFor(stored.manifest);
    const onTruncate: CarefulOptions['onTruncate'] = (one, out) => truncateRemembered(shaper, one, stored, out);
    return new CarefulEpoch({ shaper, held, maker, policy, readLetter, verdicts, checks, onTruncate });
  }

  /** Some policy leaves out whole transactions, or judges them as a whole. */
  get #leavesOutWhole(): boolean {
    const { policy, shaper } = this.#parts;
    return policy === 'transaction' || shaper.checks.configs.some(isOfTransactions);
  }

  /** Which rows hang on others was found out while their transactions were shaped: that state is gone. */
  async #judge(
    seen: ReadonlyMap<Lsn, TransactionChecks>,
    verdicts: Map<Lsn, Verdict>,
    begun: Lsn | null,
  ): Promise<void> {
    for (const [commit, checks] of seen) {
      // One that goes on from parts that are written was judged before those were.
      if (verdicts.has(commit) || (begun !== null && commit <= begun)) continue;
      const { validator } = this.#parts.shaper;
      const [unfit] = await validator.judge(checks, null, `transaction ${formatLsn(commit)}`);
      if (unfit === undefined) continue;
      if (unfit.failure.action === 'stop') throw unfit.failure;
      // A row of several parts waits with all of its transaction, behind the first of it.
      verdicts.set(commit, { letter: checks.first ?? unfit.letter, error: unfit.failure });
    }
  }

  #count(): void {
    const { status, held, shaper } = this.#parts;
    status.deadLetters = held.size;
    status.heldKeys = held.keys;
    if (shaper.checks.configs.length > 0) status.validation = { since: this.#since, checks: shaper.validator.figures };
  }
}

function isOfTransactions({ check, onFailure }: ValidationConfig): boolean {
  return check.kind === 'sum' || check.kind === 'reference' || check.kind === 'unique' || onFailure === 'transaction';
}
