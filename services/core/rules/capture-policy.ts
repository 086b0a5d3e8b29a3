import type { Config } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { nearest } from '#core/nearest.ts';
import type { CaptureColumns } from '#core/rules/mask-config.ts';
import type { Mask } from '#core/rules/values/mask-types.ts';
import { compileMask } from '#core/rules/values/mask.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { formatTable, quoteIdentifier, tableKey } from '#core/table-name.ts';
import type { TupleValue } from '#core/tuple.ts';

/** Values in one order to the captured ones: masked, without those that are left out. Unchanged TOAST stays unchanged. */
export type RowMask = <T extends TupleValue>(values: readonly T[]) => (T | string | null)[];

/** What `source.columns` makes of tables and rows, before anything of them is written anywhere. */
export class CapturePolicy {
  readonly #columns: ReadonlyMap<string, CaptureColumns>;
  readonly #keys: ReadonlyMap<string, string>;

  constructor({ source, maskKeys }: Pick<Config, 'source' | 'maskKeys'>) {
    this.#columns = new Map((source.columns ?? []).map((columns) => [tableKey(columns.table), columns]));
    this.#keys = maskKeys ?? new Map();
  }

  isExcluded(table: TableStructure, column: string): boolean {
    return this.#columns.get(tableKey(table))?.exclude.includes(column) ?? false;
  }

  /** The columns that the configuration masks or leaves out. */
  namedColumns(table: TableStructure): readonly string[] {
    const named = this.#columns.get(tableKey(table));
    return named === undefined ? [] : [...named.exclude, ...named.masks.keys()];
  }

  /**
   * A table of the source as it is captured: columns that are left out are not in it, masked ones tell their masks.
   * @throws RestageError rule_invalid for a mask that does not fit, and for a key's column that is left out.
   */
  shape(table: TableStructure): TableStructure {
    const named = this.#columns.get(tableKey(table));
    if (named === undefined) return table;
    requireKeysKept(table, named.exclude);
    requireGenerations(table, named.exclude);
    const isKept = (column: string): boolean => !named.exclude.includes(column);
    const masks = this.#masksOf(table);
    const keep = (keys: readonly (readonly string[])[]): (readonly string[])[] =>
      keys.filter((key) => key.every(isKept));
    return {
      ...table,
      columns: table.columns
        .filter(({ name }) => isKept(name))
        .map((column) => markMask(column, masks.get(column.name) ?? null)),
      uniques: keep(table.uniques),
      ...(table.deferrable === undefined ? {} : { deferrable: keep(table.deferrable) }),
      ...(named.exclude.length === 0 ? {} : { excluded: named.exclude.toSorted() }),
    };
  }

  /** For values that come in the order of these columns; null where they pass as they are. */
  rowMask(table: TableStructure, order: readonly string[]): RowMask | null {
    const masks = this.#masksOf(table);
    const steps = order.flatMap((name, index) =>
      this.isExcluded(table, name) ? [] : [{ index, mask: masks.get(name)?.apply ?? null }],
    );
    if (steps.length === order.length && steps.every(({ mask }) => mask === null)) return null;
    return (values) =>
      steps.map(({ index, mask }) => {
        const value = values[index] ?? null;
        return mask === null || typeof value === 'symbol' ? value : mask(value);
      });
  }

  /**
   * Tables that the configuration names and columns that they do not have.
   * @throws RestageError rule_invalid with the nearest name.
   */
  requireKnown(tables: readonly TableStructure[]): void {
    const byKey = new Map(tables.map((table) => [tableKey(table), table]));
    for (const [key, { table }] of this.#columns) {
      const found = byKey.get(key);
      if (found === undefined)
        throw unknown(`table ${formatTable(table)} is not captured`, formatTable(table), tables.map(formatTable));
      const names = found.columns.map(({ name }) => name);
      for (const column of this.namedColumns(found))
        if (!names.includes(column)) throw unknown(`column ${column} is not in ${formatTable(table)}`, column, names);
    }
  }

  /**
   * History has one form of a column's values: a structure of which there are events, and the columns that come now.
   * @throws RestageError state_foreign naming the column.
   */
  requireSame(before: TableStructure, now: TableStructure, columns: readonly string[]): void {
    for (const name of columns) {
      const [was, is] = [before, now].map((table) => stateOf(table, name));
      if (was === undefined || is === undefined || was === is) continue;
      throw new RestageError('state_foreign', `column ${name} was captured ${was}, and now it is to be ${is}`, {
        where: `source.columns, table ${formatTable(now)}`,
        fix: 'put source.columns and masks.keys back as they were, or start the pipeline anew under another name: one history has one form of a value',
      });
    }
  }

  #masksOf(table: TableStructure): ReadonlyMap<string, Mask> {
    const named = this.#columns.get(tableKey(table));
    const masks = new Map<string, Mask>();
    for (const [name, spec] of named?.masks ?? []) {
      const column = table.columns.find((candidate) => candidate.name === name);
      if (column === undefined) continue;
      const isKey = [table.identity.columns, table.primaryKey, ...table.uniques].some((key) => key.includes(name));
      const where = `source.columns, table ${formatTable(table)}`;
      masks.set(name, compileMask(spec, column, { where, keys: this.#keys, isKey }));
    }
    return masks;
  }
}

/** As people read it; undefined for a column that a structure does not know. */
function stateOf(table: TableStructure, name: string): string | undefined {
  if (table.excluded?.includes(name) === true) return 'not at all';
  const column = table.columns.find((candidate) => candidate.name === name);
  if (column === undefined) return undefined;
  return column.mask === undefined ? 'as it is' : `masked by ${column.mask}`;
}

/** An earlier mark goes: what counts is the mask of now. */
function markMask(column: ColumnStructure, mask: Mask | null): ColumnStructure {
  const { mask: _earlier, ...plain } = column;
  return mask === null ? plain : { ...plain, mask: mask.id };
}

function requireKeysKept(table: TableStructure, exclude: readonly string[]): void {
  const column = exclude.find((name) => [...table.identity.columns, ...table.primaryKey].includes(name));
  if (column === undefined) return;
  throw new RestageError('rule_invalid', `column ${column} is part of the key and cannot be left out`, {
    where: `source.columns, table ${formatTable(table)}`,
    fix: 'mask it with hmac or format',
  });
}

/** A column that is computed from one that is left out cannot be computed at a target. */
function requireGenerations(table: TableStructure, exclude: readonly string[]): void {
  for (const { name, generation } of table.columns) {
    if (generation === undefined || exclude.includes(name)) continue;
    const column = exclude.find((left) => namesColumn(generation.expression, left));
    if (column === undefined) continue;
    throw new RestageError('rule_invalid', `column ${name} is computed from ${column}, which is left out`, {
      where: `source.columns, table ${formatTable(table)}`,
      fix: `leave out ${name} too`,
    });
  }
}

/** In pg_get_expr's text; a word in a literal counts too, which refuses more than it must. */
function namesColumn(expression: string, column: string): boolean {
  const words = expression.match(/"(?:[^"]|"")+"|[\p{L}_][\p{L}\p{N}_$]*/gu) ?? [];
  return words.some((word) => word === column || word === quoteIdentifier(column));
}

function unknown(what: string, name: string, known: readonly string[]): RestageError {
  const near = nearest(name, known);
  return new RestageError('rule_invalid', what, {
    where: 'source.columns',
    ...(near === null ? {} : { fix: `did you mean ${near}?` }),
  });
}
