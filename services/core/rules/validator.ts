import { cellText, type Row } from '#core/envelope.ts';
import { pairOf, type TableRules } from '#core/rules/table-rules.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import type { RuleState } from '#core/rules/rule-state.ts';
import type { TransactionChecks } from '#core/rules/transaction-checks.ts';
import { ValidationFailure, type TableValidation } from '#core/rules/validation.ts';
import type { ValidationConfig } from '#core/rules/validation-config.ts';
import type { ValidationFigures } from '#core/validation-figures.ts';

const MOST_EXAMPLES = 5;
const SHOWN_TEXT = 80;

interface Count {
  passed: number;
  failed: number;
  readonly examples: string[];
}

/** What does not pass, and the dead letter that stands for it. */
export interface Unfit {
  readonly letter: string;
  readonly failure: ValidationFailure;
}

/** Checks rows of one output and counts what passed and failed: what an epoch that is given up counted is forgotten with it. */
export class Validator {
  readonly #configs: readonly ValidationConfig[];
  readonly #counts: ReadonlyMap<string, Count>;
  #staged: (() => void)[] = [];
  #marked = 0;

  constructor(configs: readonly ValidationConfig[]) {
    this.#configs = configs;
    this.#counts = new Map(configs.map(({ name }) => [name, { passed: 0, failed: 0, examples: [] }]));
  }

  get figures(): ValidationFigures['checks'] {
    return this.#configs.map(({ name, onFailure }) => {
      const { passed, failed, examples } = this.#counts.get(name) ?? { passed: 0, failed: 0, examples: [] };
      return { name, onFailure, passed, failed, examples };
    });
  }

  /** @throws ValidationFailure of the first check that an event's new row does not pass, unless it is only counted. */
  check({ rows }: TableValidation, event: RowEvent, rules: Pick<TableRules, 'conceal'>, where: string): void {
    const { now } = pairOf(event);
    if (now === null || rows.length === 0) return;
    let first: ValidationFailure | null = null;
    for (const { config, reads, fault } of rows) {
      if (!reads.every((name) => Object.hasOwn(now, name))) continue;
      const what = fault(now);
      if (what === '') {
        this.#count(config, null);
        continue;
      }
      const example = exampleOf(rules.conceal(now), event.key, reads, where);
      this.#count(config, example);
      if (config.onFailure !== 'count') first ??= new ValidationFailure(config, what, where, example);
    }
    if (first !== null) throw first;
  }

  /**
   * What of a transaction does not pass, now that it ends, and is not only counted: the first, with what else of its kind can be left out
   * beside it. None where all passes.
   */
  async judge(checks: TransactionChecks, state: RuleState | null, where: string): Promise<readonly Unfit[]> {
    const unfit: Unfit[] = [];
    for (const [{ config, equals }, changed] of checks.sums) {
      const isWrong = [...changed.values()].some((change) => change.compare(equals) !== 0);
      this.#count(config, isWrong ? where : null);
      if (!isWrong || config.onFailure === 'count' || unfit.length > 0) continue;
      const failure = new ValidationFailure(config, 'a transaction changes the sum otherwise', where);
      unfit.push({ letter: checks.first ?? '', failure });
    }
    if (state !== null) await checks.sift(state);
    for (const [{ config }, times] of checks.passed) this.#count(config, null, times);
    for (const [{ config, reads, isOfOther }, touched] of checks.failing) {
      const example = exampleOf(touched.conceal(touched.row), rowOf(touched.key), reads, touched.where);
      this.#count(config, example);
      // Of rows that are the same, one may pass without the other.
      const isBeside = unfit.length === 0 || (isOfOther && unfit[0]?.failure.config === config);
      if (config.onFailure === 'count' || !isBeside) continue;
      const failure = new ValidationFailure(config, touched.fault, touched.where, example);
      unfit.push({ letter: touched.letter, failure });
    }
    return unfit;
  }

  /** Begins a part that `undo` takes back, but for what failed. */
  mark(): void {
    this.#marked = this.#staged.length;
  }

  undo(failed: readonly unknown[]): void {
    this.#staged.length = this.#marked;
    for (const one of failed) if (one instanceof ValidationFailure) this.#count(one.config, one.example);
  }

  /** The epoch is being written. */
  keep(): void {
    for (const count of this.#staged) count();
    this.forget();
  }

  /** The epoch is given up, or was only looked at. */
  forget(): void {
    this.#staged = [];
    this.#marked = 0;
  }

  #count({ name }: ValidationConfig, example: string | null, times = 1): void {
    const counted = this.#counts.get(name);
    if (counted === undefined) return;
    this.#staged.push(() => {
      if (example === null) counted.passed += times;
      else {
        counted.failed += 1;
        if (counted.examples.length < MOST_EXAMPLES) counted.examples.push(example);
      }
    });
  }
}

/** For people: where, the row's key, and the values that were checked, as the output has them (invariant 8). */
function exampleOf(row: Row, key: Row | null, reads: readonly string[], where: string): string {
  const names = [...new Set([...Object.keys(key ?? {}), ...reads])];
  const values = names.map((name) => `${name}=${(cellText(row[name] ?? null) ?? 'NULL').slice(0, SHOWN_TEXT)}`);
  return `${where}: ${values.join(', ')}`;
}

/** A key's text as a row. */
function rowOf(key: string | null): Row | null {
  return key === null ? null : (JSON.parse(key) as Row);
}
