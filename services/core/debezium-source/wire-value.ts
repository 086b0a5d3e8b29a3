import type { ConnectType } from '#core/debezium/connect-schema.ts';

/** A schema as records carry it: Kafka Connect's, from JSON or from Avro. */
export interface WireSchema {
  readonly type: ConnectType | 'int8';
  readonly name: string;
  readonly parameters: ReadonlyMap<string, string>;
  /** Of a struct, in order. */
  readonly fields: ReadonlyMap<string, WireSchema>;
  /** Of an array, or a map's values. */
  readonly items: WireSchema | null;
}

/**
 * A value as it was on the wire: integers are bigint; a fraction that must stay exact is the text of its digits (Digits); bytes a
 * Buffer; a struct and a map a Map.
 */
export type WireValue =
  | null
  | boolean
  | bigint
  | number
  | string
  | Digits
  | Buffer
  | readonly WireValue[]
  | ReadonlyMap<string, WireValue>;

/** A number's own text. */
export class Digits {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** A value with its schema; null where the record has none. */
export interface WireDatum {
  readonly schema: WireSchema | null;
  readonly value: WireValue;
}

/** A struct's or a map's entries; null for anything else. */
export function entriesOf(value: WireValue | undefined): ReadonlyMap<string, WireValue> | null {
  return value instanceof Map ? value : null;
}

export function textOf(value: WireValue | undefined): string | null {
  return typeof value === 'string' ? value : null;
}

export function integerOf(value: WireValue | undefined): bigint | null {
  return typeof value === 'bigint' ? value : null;
}

/** Whether the value is a list. */
export function listOf(value: WireValue | undefined): readonly WireValue[] | null {
  return Array.isArray(value) ? (value as readonly WireValue[]) : null;
}
