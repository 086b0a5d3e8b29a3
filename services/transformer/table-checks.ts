import type { RelationCheck } from '#core/rules/relation-check.ts';
import { compileValidation, type TableValidation } from '#core/rules/validation.ts';
import type { ValidationConfig } from '#core/rules/validation-config.ts';
import { structureId, type ParsedStructure } from '#core/structure-record.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';
import { tableKey } from '#core/table-name.ts';

/** What is known of an event that is to be judged with its transaction. */
export interface ToBeJudged {
  /** All of its transaction is: false for a row of a load, or one that waits by itself. */
  readonly isWhole: boolean;
  /** The dead letter that it would be. */
  readonly letter: () => string;
  /** Whether what is remembered of another table, by its raw topic, is as of the event: not under another snapshot. */
  readonly isComparable: (topic: string) => boolean;
}

/** An output's checks, held against every structure that is known. */
export class TableChecks {
  readonly configs: readonly ValidationConfig[];
  /** By structureId. */
  readonly #compiled = new Map<string, TableValidation>();

  constructor(configs: readonly ValidationConfig[]) {
    this.configs = configs;
  }

  /** Checks that refer to one of these tables are compiled anew with it. @throws RestageError rule_invalid. */
  add(
    records: readonly ParsedStructure[],
    all: ReadonlyMap<string, TableStructure>,
    captured: readonly TableStructure[],
  ): void {
    if (this.configs.length === 0) return;
    const added = new Set(records.map(({ structure }) => tableKey(structure)));
    const isReferring = (structure: TableStructure): boolean =>
      this.configs.some(
        ({ table, check }) =>
          check.kind === 'reference' && tableKey(table) === tableKey(structure) && added.has(tableKey(check.other)),
      );
    for (const [id, structure] of all) {
      if (this.#compiled.has(id) && !isReferring(structure)) continue;
      const made = compileValidation(structure, this.configs, captured);
      if (made !== null) this.#compiled.set(id, made);
    }
  }

  /** null for a table without checks. */
  of(topic: string, version: number): TableValidation | null {
    return this.#compiled.get(structureId({ version, structure: { topic } })) ?? null;
  }

  /** Of the newest structures. */
  relations(newest: readonly TableStructure[]): RelationCheck[] {
    return newest.flatMap((structure) => this.#compiled.get(idOf(structure))?.relations ?? []);
  }

  /** Some judge a transaction when it ends, so epochs are taken transaction by transaction. */
  get areOfTransactions(): boolean {
    return [...this.#compiled.values()].some(({ sums, relations }) => sums.length > 0 || relations.length > 0);
  }
}

function idOf(structure: TableStructure): string {
  return structureId({ version: structureVersion(structure), structure });
}
