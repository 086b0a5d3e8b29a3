import type { Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import type { RelationCheck } from '#core/rules/relation-check.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import { mergeRows } from '#core/rules/rows.ts';
import type { RuleState } from '#core/rules/rule-state.ts';
import { pairOf } from '#core/rules/table-rules.ts';
import type { SumCheck, TableValidation } from '#core/rules/validation.ts';
import { Decimal } from '#core/rules/values/decimal.ts';

/** A row that a transaction leaves, and the change that did. */
export interface TouchedRow {
  readonly row: Row;
  readonly key: string | null;
  /** Its dead letter, should it not pass. */
  readonly letter: string;
  readonly where: string;
  readonly conceal: (row: Row) => Row;
  /** Why it does not pass, as of the last `sift`; '' before. */
  readonly fault: string;
}

export type TouchedPlace = Pick<TouchedRow, 'letter' | 'where' | 'conceal'>;

/** So many are no matter of single rows; they are held in memory (invariant 6). */
const MOST_FAILING = 100_000;

/** What one source transaction leaves to be judged when it ends: sums that it changes, and rows that hang on others. */
export class TransactionChecks {
  /** What stands for the transaction where it fails as a whole: the dead letter of its first change. */
  first: string | null = null;
  readonly #changed = new Map<SumCheck, Map<string, Decimal>>();
  readonly #touched = new Map<RelationCheck, Map<string, TouchedRow>>();
  readonly #passed = new Map<RelationCheck, number>();

  addToSums({ sums }: Pick<TableValidation, 'sums'>, event: RowEvent): void {
    for (const check of sums) {
      const known = this.#changed.get(check) ?? new Map<string, Decimal>();
      this.#changed.set(check, known);
      for (const [group, change] of check.changes(event))
        known.set(group, (known.get(group) ?? Decimal.ofInt(0n)).plus(change));
    }
  }

  /** Of each row only what the transaction leaves counts. */
  touch({ relations }: Pick<TableValidation, 'relations'>, event: RowEvent, place: TouchedPlace): void {
    for (const check of relations) {
      const rows = this.#touched.get(check) ?? new Map<string, TouchedRow>();
      this.#touched.set(check, rows);
      const [key, before] = check.keysOf(event);
      const known = rows.get(before ?? '')?.row ?? null;
      if (before !== null) rows.delete(before);
      const { now } = pairOf(event);
      const row = now === null ? null : mergeRows(known, now);
      // A value that did not change, and did not come, was checked when it came.
      if (row === null || !check.reads.every((name) => Object.hasOwn(row, name))) continue;
      rows.set(key ?? place.letter, { row, key, fault: '', ...place });
    }
  }

  get sums(): ReadonlyMap<SumCheck, ReadonlyMap<string, Decimal>> {
    return this.#changed;
  }

  /** Rows that do not pass as things are, by check; the last one first. */
  get failing(): readonly (readonly [RelationCheck, TouchedRow])[] {
    return [...this.#touched].flatMap(([check, rows]) =>
      [...rows.values()].toReversed().map((row) => [check, row] as const),
    );
  }

  get passed(): ReadonlyMap<RelationCheck, number> {
    return this.#passed;
  }

  /** Forgets rows that pass by now: what comes later in the transaction and does not go with them fails itself. */
  async sift(state: RuleState): Promise<void> {
    for (const [check, rows] of this.#touched) {
      for (const [id, touched] of rows) {
        const fault = await check.fault(touched.row, touched.key, state);
        if (fault !== '') {
          rows.set(id, { ...touched, fault });
          continue;
        }
        rows.delete(id);
        this.#passed.set(check, (this.#passed.get(check) ?? 0) + 1);
      }
      if (rows.size > MOST_FAILING)
        throw new RestageError('dead_letters_wait', `more than ${MOST_FAILING} rows of a transaction do not pass`, {
          where: `check ${check.config.name}`,
          fix: 'so many are no matter of single rows: correct the check',
        });
    }
  }
}
