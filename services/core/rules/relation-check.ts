import type { Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import { compileLookUp, equalityOf } from '#core/rules/look-up.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import { keyText } from '#core/rules/rows.ts';
import { rowKeysOf } from '#core/rules/rule-memory.ts';
import type { RememberedTable, RuleState } from '#core/rules/rule-state.ts';
import type { ValidationCheck, ValidationConfig } from '#core/rules/validation-config.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';

/** A check of a row against other rows, as they are when its transaction ends: within it they may come in any order. */
export interface RelationCheck {
  readonly config: ValidationConfig;
  readonly reads: readonly string[];
  /** What of a table is to be remembered for it. */
  readonly remembers: RememberedTable;
  /** Rows of that table are to be known before all others of a load. */
  readonly isOfOther: boolean;
  /** The row's key after an event and before it; null where there is none, or no row. */
  keysOf(event: RowEvent): readonly [now: string | null, before: string | null];
  /** '' for a row that passes, else what is wrong, without its values. `key`: the row's own. */
  fault(row: Row, key: string | null, state: RuleState): Promise<string>;
}

/** @throws RestageError rule_invalid. */
export function compileReference(
  config: ValidationConfig,
  { other, on }: Extract<ValidationCheck, { kind: 'reference' }>,
  structure: TableStructure,
  captured: readonly TableStructure[],
  where: string,
): RelationCheck {
  const stored = structure.columns.filter(({ generated }) => !generated);
  const { topic, by, keyOf } = compileLookUp({ as: 'other', table: other, on }, stored, captured, where);
  return {
    config,
    reads: by,
    remembers: { topic, table: other, columns: [], indexes: new Map() },
    isOfOther: true,
    keysOf: (event) => rowKeysOf(event, structure.identity.columns),
    fault(row, _key, state) {
      const referred = keyOf(row);
      const isThere = referred === null || state.read(topic, referred) !== null;
      return Promise.resolve(isThere ? '' : `there is no such row in ${other.schema}.${other.table}`);
    },
  };
}

/** @throws RestageError rule_invalid. */
export function compileUnique(
  config: ValidationConfig,
  columns: readonly ColumnStructure[],
  structure: TableStructure,
  where: string,
): RelationCheck {
  const fail = (what: string, fix: string): never => {
    throw new RestageError('rule_invalid', what, { where, fix });
  };
  const { identity, topic, schema, table } = structure;
  if (identity.columns.length === 0) fail('rows without a key cannot be told apart', 'give the table a key');
  for (const column of columns) {
    if (equalityOf(column) === null)
      fail(
        `equal values of ${column.name} (${column.type}) may have different texts`,
        'check integers, texts, uuid, dates, timestamps, bytea, bool or one enum; or put a unique index on the table at the target',
      );
    if (column.mask !== undefined)
      fail(`column ${column.name} is masked at capture`, 'check it at the source, which has its values');
  }
  const reads = columns.map(({ name }) => name);
  const index = JSON.stringify(['unique', ...reads]);
  const valuesOf = (row: Row): string | null =>
    reads.every((name) => (row[name] ?? null) !== null) ? keyText(row, reads) : null;
  const keysFor = (row: Row): readonly string[] => {
    const values = valuesOf(row);
    return values === null ? [] : [values];
  };
  return {
    config,
    reads,
    remembers: { topic, table: { schema, table }, columns: reads, indexes: new Map([[index, keysFor]]) },
    isOfOther: false,
    keysOf: (event) => rowKeysOf(event, identity.columns),
    async fault(row, key, state) {
      const values = valuesOf(row);
      if (values === null) return '';
      for await (const other of state.dependents(topic, index, values))
        if (other !== key) return `another row has the same ${reads.join(', ')}`;
      return '';
    },
  };
}
