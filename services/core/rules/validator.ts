import { cellText, type Row } from '#core/envelope.ts';
import { pairOf, type TableRules } from '#core/rules/table-rules.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import { Decimal } from '#core/rules/values/decimal.ts';
import { ValidationFailure, type SumCheck, type TableValidation } from '#core/rules/validation.ts';
import type { ValidationConfig } from '#core/rules/validation-config.ts';
import type { ValidationFigures } from '#core/validation-figures.ts';

const MOST_EXAMPLES = 5;
const SHOWN_TEXT = 80;

interface Count {
  passed: number;
  failed: number;
  readonly examples: string[];
}

/** Checks rows of one output and counts what passed and failed: what an epoch that is given up counted is forgotten with it. */
export class Validator {
  readonly #configs: readonly ValidationConfig[];
  readonly #counts: ReadonlyMap<string, Count>;
  #staged: (() => void)[] = [];

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
      this.#count(config, exampleOf(rules.conceal(now), event.key, reads, where));
      if (config.onFailure !== 'count') first ??= new ValidationFailure(config, what, where);
    }
    if (first !== null) throw first;
  }

  /** @throws ValidationFailure of a transaction that changes a sum otherwise, unless it is only counted. */
  checkSums(sums: TransactionSums, where: string): void {
    let first: ValidationFailure | null = null;
    for (const { check, changed } of sums.each()) {
      const wrong = [...changed].find(([, change]) => change.compare(check.equals) !== 0);
      this.#count(check.config, wrong === undefined ? null : where);
      if (wrong === undefined || check.config.onFailure === 'count') continue;
      first ??= new ValidationFailure(check.config, 'a transaction changes the sum otherwise', where);
    }
    if (first !== null) throw first;
  }

  /** The epoch is written. */
  keep(): void {
    for (const count of this.#staged) count();
    this.#staged = [];
  }

  /** The epoch is given up, or was only looked at. */
  forget(): void {
    this.#staged = [];
  }

  #count({ name }: ValidationConfig, example: string | null): void {
    const counted = this.#counts.get(name);
    if (counted === undefined) return;
    this.#staged.push(() => {
      if (example === null) counted.passed += 1;
      else {
        counted.failed += 1;
        if (counted.examples.length < MOST_EXAMPLES) counted.examples.push(example);
      }
    });
  }
}

/** What one source transaction changes of the sums that are checked. */
export class TransactionSums {
  /** What stands for the transaction where it fails: the dead letter of its first change. */
  first: string | null = null;
  readonly #changed = new Map<SumCheck, Map<string, Decimal>>();

  add({ sums }: TableValidation, event: RowEvent): void {
    for (const check of sums) {
      const known = this.#changed.get(check) ?? new Map<string, Decimal>();
      this.#changed.set(check, known);
      for (const [group, change] of check.changes(event))
        known.set(group, (known.get(group) ?? Decimal.ofInt(0n)).plus(change));
    }
  }

  *each(): Generator<{ readonly check: SumCheck; readonly changed: ReadonlyMap<string, Decimal> }> {
    for (const [check, changed] of this.#changed) yield { check, changed };
  }
}

/** For people: where, the row's key, and the values that were checked, as the output has them (invariant 8). */
function exampleOf(row: Row, key: Row | null, reads: readonly string[], where: string): string {
  const names = [...new Set([...Object.keys(key ?? {}), ...reads])];
  const values = names.map((name) => `${name}=${(cellText(row[name] ?? null) ?? 'NULL').slice(0, SHOWN_TEXT)}`);
  return `${where}: ${values.join(', ')}`;
}
