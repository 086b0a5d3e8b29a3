import type { Image } from '#core/change.ts';
import { RestageError } from '#core/errors.ts';
import { nearest } from '#core/nearest.ts';
import { constant, type Node, type Place, type RowScope, type StaticType } from '#core/rules/values/expression-node.ts';
import { kindOfType, readerOf } from '#core/rules/values/expression-text.ts';
import { RuleFailure } from '#core/rules/values/rule-failure.ts';
import type { ColumnStructure } from '#core/structure.ts';

/** The rows that an expression may read, and what it does read of them. */
export class ColumnScope {
  readonly place: Place;
  readonly used: Set<string> = new Set();
  readonly usedOfRows: Map<string, Set<string>> = new Map();
  readsTime = false;
  readonly #columns: ReadonlyMap<string, ColumnStructure>;
  readonly #rows: ReadonlyMap<string, ReadonlyMap<string, ColumnStructure>>;

  constructor(
    place: Place,
    columns: readonly ColumnStructure[],
    rows: ReadonlyMap<string, readonly ColumnStructure[]>,
  ) {
    this.place = place;
    this.#columns = byName(columns);
    this.#rows = new Map([...rows].map(([name, of]) => [name, byName(of)]));
  }

  hasColumn(name: string): boolean {
    return this.#columns.has(name);
  }

  hasRow(name: string): boolean {
    return this.#rows.has(name) && !this.#columns.has(name);
  }

  /** A column of the event's row. @throws RestageError rule_invalid. */
  column(name: string): Node {
    const column = this.#columns.get(name);
    if (column === undefined) throw this.#unknown(name, 'the table', [...this.#columns.keys(), ...this.#rows.keys()]);
    this.used.add(name);
    return this.#read(column, (row) => row.image);
  }

  /** A column of another row: NULL where there is no such row. @throws RestageError rule_invalid. */
  columnOf(rowName: string, name: string): Node {
    const columns = this.#rows.get(rowName) ?? new Map<string, ColumnStructure>();
    const column = columns.get(name);
    if (column === undefined) throw this.#unknown(name, rowName, [...columns.keys()]);
    const used = this.usedOfRows.get(rowName) ?? new Set();
    this.usedOfRows.set(rowName, used.add(name));
    return this.#read(column, (row) => row.context.rows?.get(rowName) ?? null);
  }

  /** Whether there is no such row. */
  isAbsent(rowName: string): Node {
    this.usedOfRows.set(rowName, this.usedOfRows.get(rowName) ?? new Set());
    return { type: { kind: 'bool' }, run: (row) => (row.context.rows?.get(rowName) ?? null) === null };
  }

  /** `event.time`: the transaction's commit. */
  eventTime(): Node {
    this.readsTime = true;
    return {
      type: { kind: 'timestamp' },
      run: ({ context: { time } }) => {
        if (time === undefined) throw new RuleFailure('column_absent', 'the event has no time');
        return time;
      },
    };
  }

  #read(column: ColumnStructure, imageOf: (row: RowScope) => Image | null): Node {
    const { name } = column;
    if (column.generated)
      throw new RestageError('rule_invalid', `column ${name} is generated: events do not carry it`, {
        where: this.place.where,
      });
    const read = readerOf(column);
    const type: StaticType = { kind: kindOfType(column), column };
    return {
      type,
      run: (row) => {
        const image = imageOf(row);
        if (image === null) return null;
        const text = image.get(name);
        if (text === undefined)
          throw new RuleFailure('column_absent', `an event does not carry column ${name}, which a rule reads`);
        return text === null ? null : readValue(read, text, column);
      },
    };
  }

  #unknown(name: string, of: string, known: readonly string[]): RestageError {
    const near = nearest(name, known);
    return new RestageError('rule_invalid', `column ${name} is not in ${of}`, {
      where: this.place.where,
      ...(near === null ? {} : { fix: `did you mean ${near}?` }),
    });
  }
}

/** NULL, whatever it is asked as. */
export const NULL_NODE: Node = constant({ kind: 'null' }, null);

function byName(columns: readonly ColumnStructure[]): ReadonlyMap<string, ColumnStructure> {
  return new Map(columns.map((column) => [column.name, column]));
}

function readValue<T>(read: (text: string) => T, text: string, { name, type }: ColumnStructure): T {
  try {
    return read(text);
  } catch (cause) {
    throw new RestageError('record_invalid', `column ${name} holds no ${type}`, { cause });
  }
}
