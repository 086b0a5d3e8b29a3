import type pg from 'pg';
import { actAsReplica } from '#adapters/postgres/target/apply-session.ts';
import { DeadLetterStore, type StoredDeadLetter } from '#adapters/postgres/target/dead-letter-store.ts';
import { readTableRanks } from '#adapters/postgres/target/foreign-keys.ts';
import { readKeyLinks } from '#adapters/postgres/target/key-links.ts';
import { readTargetTable } from '#adapters/postgres/target/target-table.ts';
import { isEventFault } from '#core/error-policy.ts';
import { describeError, RestageError } from '#core/errors.ts';
import type { Failpoints } from '#core/failpoints.ts';
import type { KeyLink } from '#core/key-slots.ts';
import { LSN_ZERO } from '#core/lsn.ts';
import type { Position } from '#core/position.ts';
import type { TableName } from '#core/table-name.ts';
import { settleConstraints } from './epoch-apply.ts';
import type { ReadLetters } from './letter-reader.ts';
import { frameOf } from './postgres-target.ts';
import type { TableRanks } from './segment-apply.ts';
import { SlotBook } from './slot-book.ts';

/** Reads dead letters back and applies them, as the sink would have. */
export interface LetterTools {
  /** @throws RestageError record_invalid, target_altered. */
  readonly read: (client: pg.ClientBase, letters: readonly StoredDeadLetter[]) => Promise<ReadLetters>;
  readonly apply: (client: pg.ClientBase, read: ReadLetters, ranks: TableRanks | null) => Promise<void>;
}

export interface RetryOptions {
  readonly client: pg.ClientBase;
  readonly pipeline: string;
  readonly letters: LetterTools;
  /** Of the target, for the foreign keys between them. */
  readonly tables: readonly TableName[];
  /** Whole source transactions, or each change by itself. */
  readonly isByRow: boolean;
  /** These and what waits behind them; null for all. */
  readonly ids: readonly string[] | null;
  readonly isDryRun: boolean;
  readonly failpoints: Failpoints;
}

export interface RetryOutcome {
  readonly id: string;
  readonly state: 'retried' | 'waiting';
  /** Why it still waits; '' otherwise. */
  readonly code: string;
  readonly error: string;
}

/** Letters that are applied together, in order. */
type Unit = readonly StoredDeadLetter[];

const MOST_ROUNDS = 20;

/**
 * Applies dead letters to their target, the oldest first: what still waits holds back what needs its rows, so the order of each key is
 * kept. Each transaction (or row) is one target transaction under the lock of the checkpoint, which the sink's applies take too: it may run
 * meanwhile, and one that is killed repeats nothing (invariants 2 and 7).
 */
export async function retryDeadLetters(options: RetryOptions): Promise<RetryOutcome[]> {
  const run = new RetryRun(options, (await actAsReplica(options.client)) ? null : await ranksOf(options));
  if (!options.isDryRun) return run.all();
  await options.client.query('BEGIN');
  try {
    return await run.all();
  } finally {
    await options.client.query('ROLLBACK').catch(() => undefined);
  }
}

function ranksOf({ client, tables }: RetryOptions): Promise<TableRanks> {
  return readTableRanks(client, tables);
}

class RetryRun {
  readonly #options: RetryOptions;
  readonly #ranks: TableRanks | null;
  readonly #store: DeadLetterStore;
  readonly #slots: SlotBook;
  readonly #outcomes = new Map<string, RetryOutcome>();
  /** Asked for, or found waiting behind one that is. */
  readonly #chosen: Set<string>;
  #links: readonly KeyLink[] = [];

  constructor(options: RetryOptions, ranks: TableRanks | null) {
    this.#options = options;
    this.#ranks = ranks;
    this.#store = new DeadLetterStore(options.client, options.pipeline);
    this.#slots = new SlotBook({ table: (structure) => readTargetTable(options.client, structure) });
    this.#chosen = new Set(options.ids ?? []);
  }

  /** Again while it frees something: a running sink adds what comes to a key that is still held. */
  async all(): Promise<RetryOutcome[]> {
    this.#links = await readKeyLinks(this.#options.client, this.#options.tables);
    for (let round = 0; round < MOST_ROUNDS; round += 1) if (!(await this.#round())) break;
    return [...this.#outcomes.values()];
  }

  async #round(): Promise<boolean> {
    const places = await this.#store.waiting();
    const units = new Map<string, string[]>();
    for (const { id, commit } of places) {
      const unit = this.#options.isByRow || commit === '' ? id : commit;
      units.set(unit, [...(units.get(unit) ?? []), id]);
    }
    let isAnyRetried = false;
    for (const ids of units.values()) {
      const letters = await this.#store.read(ids);
      if (!(await this.#isChosen(letters))) continue;
      for (const { id } of letters) this.#chosen.add(id);
      const fault = await this.#attempt(letters);
      isAnyRetried ||= fault === null;
      for (const letter of letters) {
        const { id } = letter;
        if (fault === null) this.#outcomes.set(id, { id, state: 'retried', code: '', error: '' });
        else this.#outcomes.set(id, { id, state: 'waiting', ...fault });
      }
    }
    return isAnyRetried && !this.#options.isDryRun;
  }

  async #isChosen(letters: Unit): Promise<boolean> {
    if (this.#options.ids === null) return true;
    if (letters.some(({ id, behind }) => this.#chosen.has(id) || (behind !== null && this.#chosen.has(behind))))
      return true;
    const read = await this.#read(letters);
    if (!('items' in read)) return false;
    return [...(await this.#holders(letters, read))].some((id) => this.#chosen.has(id));
  }

  /** null when all of it is applied. */
  async #attempt(letters: Unit): Promise<Pick<RetryOutcome, 'code' | 'error'> | null> {
    const { client, pipeline, isDryRun, failpoints } = this.#options;
    await client.query(isDryRun ? 'SAVEPOINT dead_letter' : 'BEGIN');
    try {
      // The sink's own lock: neither sees half of what the other does.
      await client.query('SELECT FROM restage.checkpoint WHERE pipeline = $1 FOR UPDATE', [pipeline]);
      const read = await this.#read(letters);
      if (!('items' in read)) throw read;
      const [behind] = await this.#holders(letters, read);
      if (behind !== undefined) throw new HeldBack(behind);
      await this.#apply(read);
      for (const { id } of letters) if (!(await this.#store.settle(id, 'retried'))) throw new HeldBack(id);
      if (isDryRun) {
        await client.query('RELEASE SAVEPOINT dead_letter');
        return null;
      }
      failpoints.hit('dlq.retry.before');
      await client.query('COMMIT');
      failpoints.hit('dlq.retry.after');
      return null;
    } catch (error) {
      await client.query(isDryRun ? 'ROLLBACK TO SAVEPOINT dead_letter' : 'ROLLBACK');
      if (error instanceof HeldBack) return { code: 'held', error: `waits behind dead letter ${error.behind}` };
      if (!isFaultOfLetter(error)) throw error;
      const fault = { code: error instanceof RestageError ? error.code : '', error: describeError(error) };
      const root = letters.find(({ behind }) => behind === null) ?? letters[0];
      if (!isDryRun && root !== undefined) await this.#store.noteError(root.id, fault.code, fault.error);
      return fault;
    }
  }

  async #apply(read: ReadLetters): Promise<void> {
    const { client, letters } = this.#options;
    await client.query('SET CONSTRAINTS ALL DEFERRED');
    await letters.apply(client, read, this.#ranks);
    await settleConstraints(frameOf(client));
  }

  async #read(letters: Unit): Promise<ReadLetters | RestageError> {
    try {
      return await this.#options.letters.read(this.#options.client, letters);
    } catch (error) {
      if (error instanceof RestageError && isFaultOfLetter(error)) return error;
      throw error;
    }
  }

  /** What comes before it and has to be applied first. */
  async #holders(letters: Unit, { items }: ReadLetters): Promise<Set<string>> {
    const needed = new Set<string>();
    for (const item of items) for (const slot of await this.#slots.needed(item, this.#links)) needed.add(slot);
    const first: Position = letters[0]?.position ?? { commit: LSN_ZERO, ordinal: 0 };
    const holders = await this.#store.holders([...needed], first);
    for (const { id } of letters) holders.delete(id);
    return holders;
  }
}

class HeldBack extends Error {
  override readonly name = 'HeldBack';
  readonly behind: string;

  constructor(behind: string) {
    super('another dead letter comes first');
    this.behind = behind;
  }
}

/** Here a row that is not there as expected is one: whoever mended the target by hand may have gone further than was needed. */
function isFaultOfLetter(error: unknown): boolean {
  return (
    isEventFault(error) ||
    (error instanceof RestageError && (error.code === 'target_drift' || error.code === 'target_altered'))
  );
}
