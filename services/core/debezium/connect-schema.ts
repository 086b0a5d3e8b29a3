/** Kafka Connect's types, as its JsonConverter spells them. */
export type ConnectType =
  | 'int16'
  | 'int32'
  | 'int64'
  | 'float'
  | 'double'
  | 'boolean'
  | 'string'
  | 'bytes'
  | 'array'
  | 'map'
  | 'struct';

/** int64 is a bigint, bytes a Buffer; a struct's values stand in its fields' order. A map's values may be null. */
export type ConnectValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Buffer
  | readonly ConnectValue[]
  | ReadonlyMap<string, string | null>;

export interface ConnectSchema {
  readonly type: ConnectType;
  readonly optional: boolean;
  readonly name?: string;
  readonly version?: number;
  readonly doc?: string;
  readonly parameters?: Readonly<Record<string, string>>;
  readonly default?: ConnectValue;
  /** Of a struct. */
  readonly fields?: readonly ConnectField[];
  /** Of an array. */
  readonly items?: ConnectSchema;
}

export interface ConnectField {
  readonly name: string;
  readonly schema: ConnectSchema;
}

/** A schema that must have a value. */
export function required(
  type: ConnectType,
  more: Omit<Partial<ConnectSchema>, 'type' | 'optional'> = {},
): ConnectSchema {
  return { type, optional: false, ...more };
}

export function optional(schema: ConnectSchema): ConnectSchema {
  return { ...schema, optional: true };
}

/** A schema with a name of Kafka Connect or Debezium, version 1 as all of those have. */
export function named(
  type: ConnectType,
  name: string,
  more: Omit<Partial<ConnectSchema>, 'type' | 'optional' | 'name' | 'version'> = {},
): ConnectSchema {
  return required(type, { name, version: 1, ...more });
}
