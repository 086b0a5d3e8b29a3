import type { ConnectSchema, ConnectValue } from './connect-schema.ts';
import type { DebeziumOptions } from './options.ts';

/** How the values of one column stand in an event. */
export interface ValueMapper {
  /** Required, without default. */
  readonly schema: ConnectSchema;
  /** From PostgreSQL's text. null where Debezium has no form for it, as for NaN in `precise`. */
  readonly convert: (text: string) => ConnectValue;
  /** What a required column holds in an image that has not its value: a DELETE's, mostly. */
  readonly zero: ConnectValue;
  /** The placeholder of an unchanged TOASTed value; null where the type can hold none. */
  readonly unavailable: ConnectValue;
}

/** What of a column decides its mapper. */
export interface ColumnType {
  /** pg_type.typname; of a domain the base type's, of an array its element's, as modifiers and labels are. */
  readonly name: string;
  readonly isArray: boolean;
  /** Type modifiers as numbers: `numeric(10,2)` has two, none where the type is unbounded. */
  readonly modifiers: readonly number[];
  readonly labels: readonly string[] | null;
}

/** null: a type that Debezium leaves out of its events. */
export type MapperFactory = (type: ColumnType, options: DebeziumOptions) => ValueMapper | null;

/** A string under a name or none. */
export function textMapper(schema: ConnectSchema, options: DebeziumOptions): ValueMapper {
  return { schema, convert: (text) => text, zero: '', unavailable: options.unavailableValuePlaceholder };
}
