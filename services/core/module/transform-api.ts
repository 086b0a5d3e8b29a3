/** What the module of an output imports: `import { defineTransform, UNCHANGED } from 'restage/transform'`. It imports nothing itself. */

/** A column whose TOASTed value an update left alone, so that the source did not send it: a value of its own, never undefined. */
export const UNCHANGED: unique symbol = Symbol.for('restage.unchanged');
export type Unchanged = typeof UNCHANGED;

/** boolean, int2 and int4 as such; every other type as PostgreSQL's own text. */
export type Value = string | number | boolean | null;

/** A captured table's types, as `restage types` writes them. `before`: the row with REPLICA IDENTITY FULL, else its key. */
export interface TableTypes {
  readonly key: object | null;
  readonly row: object;
  readonly before: object | null;
  /** The row after an update, in which large values may be UNCHANGED. */
  readonly updated: object;
}

type AnyRow = Readonly<Record<string, Value | Unchanged>>;

/** Of tables without generated types. */
export interface AnyTable extends TableTypes {
  readonly key: AnyRow | null;
  readonly row: AnyRow;
  readonly before: AnyRow | null;
  readonly updated: AnyRow;
}

interface ChangePlace<T extends TableTypes> {
  readonly table: string;
  /** The identity's columns, of the new row where there is one. */
  readonly key: T['key'];
  /** When its transaction was committed, as timestamptz in UTC; of a row of the load when it was read. */
  readonly time: string;
}

/** A change of a row of the source; `r` is a row of the load. */
export type Change<T extends TableTypes = AnyTable> =
  | (ChangePlace<T> & { readonly op: 'c' | 'r'; readonly before: null; readonly after: T['row'] })
  | (ChangePlace<T> & { readonly op: 'u'; readonly before: T['before']; readonly after: T['updated'] })
  | (ChangePlace<T> & { readonly op: 'd'; readonly before: T['before']; readonly after: null });

/** A number only for boolean, int, numeric (whole ones) and float columns; a bigint for int and numeric ones. */
export type GivenRow = Readonly<Record<string, Value | bigint | Unchanged>>;

/**
 * A change of a row at the target. `c` has the whole row in `after`; `u` too, where UNCHANGED leaves a column as it is, and says in `before`
 * which row it was where its key changes; `d` names the row by `before` or `key`. Absent `op`: that of the change.
 */
export interface GivenChange {
  readonly table: string;
  readonly op?: 'c' | 'u' | 'd' | 'r';
  readonly key?: object | null;
  readonly before?: object | null;
  readonly after?: object | null;
}

export type Given = GivenChange | readonly GivenChange[] | null | undefined;

export interface Tools {
  /** One more change, before those that are returned. */
  emit(change: GivenChange): void;
}

/** A table that the module gives. */
export interface GivenTable {
  readonly key: readonly [string, ...string[]];
  /** Name to type, as PostgreSQL writes it; `not null` may follow. */
  readonly columns: Readonly<Record<string, string>>;
  /** The tables of the source whose changes come to it. Absent: all that the module names. */
  readonly from?: readonly string[];
}

export type AnyTables = Readonly<Record<`${string}.${string}`, AnyTable>>;

/** A function for each table of the source, and the tables that they give. */
export type Transform<T> = { readonly tables: Readonly<Record<string, GivenTable>> } & {
  readonly [Name in keyof T]?: T[Name] extends TableTypes ? (change: Change<T[Name]>, tools: Tools) => Given : never;
};

/** Pure functions from a change to none, one or many. `T`: the types that `restage types` writes. */
export function defineTransform<T = AnyTables>(transform: Transform<T>): Transform<T> {
  return transform;
}

/** A change that a module does not take: its reason is shown, so it must hold no value. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
}

/** Fails the change. Of other errors only their place in the code is shown, for their words may hold values. */
export function refuse(reason: string): never {
  throw new Refusal(reason);
}
