import type { Image } from '#core/change.ts';
import { cellText, type Row } from '#core/envelope.ts';
import { RestageError } from '#core/errors.ts';
import { nearest } from '#core/nearest.ts';
import type { EventPlace } from '#core/rules/event-place.ts';
import type { LookUp, RuleConfig } from '#core/rules/rule-config.ts';
import { cellOf, imageOfColumns } from '#core/rules/rows.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { formatTable, tableKey } from '#core/table-name.ts';

/** A look-up, held against the structures of both tables. */
export interface CompiledLookUp {
  readonly as: string;
  /** Of the other table's raw events. */
  readonly topic: string;
  /** What expressions may read of it. */
  readonly columns: readonly ColumnStructure[];
  /** The other table's key. */
  readonly key: readonly string[];
  /** Columns of the row that say which, in the order of `key`. */
  readonly by: readonly string[];
  /** The other row's key as keyText gives it; null where a column of it is NULL or not there. */
  readonly keyOf: (row: Row) => string | null;
}

/** A look-up and the columns that the rule's expressions read of it. */
export interface UsedLookUp extends CompiledLookUp {
  readonly reads: readonly string[];
}

/** Integers are one kind, and so are texts: their texts are equal where the values are. */
const KINDS: ReadonlyMap<string, string> = new Map([
  ...['int2', 'int4', 'int8'].map((name) => [name, 'integer'] as const),
  ...['text', 'varchar', 'name'].map((name) => [name, 'text'] as const),
  ...['bool', 'uuid', 'date', 'oid', 'timestamp', 'timestamptz', 'bytea'].map((name) => [name, name] as const),
]);

/**
 * `columns`: those of the row that is being looked up from, with what an array brings. `captured`: the tables that may be looked up.
 * @throws RestageError rule_invalid.
 */
export function compileLookUps(
  rule: RuleConfig | null,
  columns: readonly ColumnStructure[],
  captured: readonly TableStructure[],
  place: string,
): CompiledLookUp[] {
  const lookUps = rule?.lookUps ?? [];
  for (const [index, { as }] of lookUps.entries()) {
    const isTwice = lookUps.findIndex((other) => other.as === as) < index;
    if (!isTwice && as !== 'event' && !columns.some(({ name }) => name === as)) continue;
    const what = isTwice ? 'two look-ups have the name' : 'a look-up has the name of a column, or of the event';
    throw new RestageError('rule_invalid', `${what}: ${as}`, { where: place, fix: 'give it another name with as' });
  }
  return lookUps.map((lookUp) => compileLookUp(lookUp, columns, captured, place));
}

/** One of compileLookUps. @throws RestageError rule_invalid. */
export function compileLookUp(
  { as, table, on, place: written }: LookUp,
  columns: readonly ColumnStructure[],
  captured: readonly TableStructure[],
  place: string,
): CompiledLookUp {
  const where = `${place}, lookUp ${as}${written === undefined ? '' : ` (${written})`}`;
  const fail = (what: string, fix?: string): never => {
    throw new RestageError('rule_invalid', what, { where, ...(fix === undefined ? {} : { fix }) });
  };
  const other = captured.find((one) => tableKey(one) === tableKey(table));
  if (other === undefined)
    return fail(
      `a rule looks up rows of a table that is not captured: ${formatTable(table)}`,
      hint(formatTable(table), captured.map(formatTable)) ?? 'correct the rule, or add the table to source.tables',
    );
  const key = other.identity.columns;
  if (key.length === 0) fail(`${formatTable(table)} has no key, and rows are looked up by their key`);
  if (key.length !== on.size || !key.every((column) => on.has(column)))
    fail(
      `a row of ${formatTable(table)} is looked up by its key: ${key.join(', ')}`,
      'name just these columns under on',
    );
  const by = key.map((column) => on.get(column) ?? '');
  for (const [index, name] of by.entries()) {
    const own = columns.find((column) => column.name === name);
    if (own === undefined || own.generated)
      return fail(
        `column ${name} is not in the table`,
        hint(
          name,
          columns.map((column) => column.name),
        ),
      );
    const theirs = other.columns.find((column) => column.name === key[index]);
    const [left, right] = [equalityOf(own), theirs === undefined ? null : equalityOf(theirs)];
    if (left === null || left !== right)
      fail(
        `${name} (${own.type}) and ${key[index] ?? ''} (${theirs?.type ?? ''}) cannot be compared by their text`,
        'look up by integers, texts, uuid, dates, timestamps, bytea, bool or one enum',
      );
    if (own.mask !== theirs?.mask)
      fail(`${name} and ${key[index] ?? ''} are masked differently at capture`, 'give both the same mask and key');
  }
  const forms = key.map((name) => other.columns.find((column) => column.name === name)?.json ?? 'text');
  return {
    as,
    topic: other.topic,
    columns: other.columns,
    key,
    by,
    keyOf: (row) => keyIn(row, { by, key, forms }),
  };
}

/** Of the other table's row that this one asks for, as its topic has it; null where a column is NULL. */
function keyIn(
  row: Row,
  { by, key, forms }: Pick<CompiledLookUp, 'by' | 'key'> & { readonly forms: readonly ColumnStructure['json'][] },
): string | null {
  let text = '{';
  for (const [index, from] of by.entries()) {
    const cell = Object.hasOwn(row, from) ? (row[from] ?? null) : null;
    if (cell === null) return null;
    const theirs = cellOf(cellText(cell), forms[index] ?? 'text');
    text += `${index === 0 ? '' : ','}${JSON.stringify(key[index])}:${JSON.stringify(theirs)}`;
  }
  return `${text}}`;
}

/** The row that a look-up finds; null for none. @throws RestageError rule_failed where nothing is remembered. */
export function findRow(
  { as, topic, reads, keyOf }: UsedLookUp,
  row: Row,
  { lookUp, place }: EventPlace,
): Image | null {
  if (lookUp === undefined)
    throw new RestageError('rule_failed', `nothing is known here of the rows that ${as} looks up`, { where: place });
  const key = keyOf(row);
  const found = key === null ? null : lookUp(topic, key);
  return found === null ? null : imageOfColumns(found, reads);
}

/** Values of one kind are equal where their texts are. null: equal values may have different texts. */
export function equalityOf({ typeSchema, typeName, enumLabels, element }: ColumnStructure): string | null {
  if (element !== undefined) return null;
  if (enumLabels !== null) return JSON.stringify([typeSchema, typeName]);
  return typeSchema === 'pg_catalog' ? (KINDS.get(typeName) ?? null) : null;
}

function hint(name: string, names: readonly string[]): string | undefined {
  const near = nearest(name, names);
  return near === null ? undefined : `did you mean ${near}?`;
}
