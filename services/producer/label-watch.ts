import type { ColumnStructure } from '#core/structure.ts';
import { textsOf, type SentTuple } from '#core/tuple.ts';

const MOST_TEXTS = 1_000;

/**
 * ALTER TYPE … ADD VALUE announces nothing in the stream: a label is new when a value has it. Of arrays of an enum every text that was
 * not seen before counts as new, some thousand at most.
 */
export class LabelWatch {
  readonly #columns: readonly { readonly index: number; readonly isArray: boolean; readonly known: Set<string> }[];

  /** `columns` in the order of the tuples. */
  constructor(columns: readonly ColumnStructure[]) {
    this.#columns = columns.flatMap(({ enumLabels, element }, index) =>
      enumLabels === null
        ? []
        : [{ index, isArray: element !== undefined, known: new Set(element === undefined ? enumLabels : []) }],
    );
  }

  /** True at most once for a text. */
  isNew(row: SentTuple): boolean {
    if (this.#columns.length === 0) return false;
    const tuple = textsOf(row);
    let isNew = false;
    for (const { index, isArray, known } of this.#columns) {
      const value = tuple[index];
      if (typeof value !== 'string' || known.has(value)) continue;
      if (isArray && known.size >= MOST_TEXTS) known.clear();
      known.add(value);
      isNew = true;
    }
    return isNew;
  }
}
