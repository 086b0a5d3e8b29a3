import type { ConnectSchema, ConnectValue } from './connect-schema.ts';

/** A value as it stands in a record: JSON text, or Avro in the registry's frame. */
export type Convert = (value: ConnectValue) => string | Buffer;

/**
 * Makes the writer of a topic's keys or values. Asynchronous, for a schema may have to be registered first.
 * @throws RestageError registry_unreachable, registry_refused.
 */
export type ConverterFactory = (topic: string, part: 'key' | 'value', schema: ConnectSchema) => Promise<Convert>;
