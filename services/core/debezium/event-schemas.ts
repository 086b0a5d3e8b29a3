import { named, optional, required, type ConnectField, type ConnectSchema } from './connect-schema.ts';

const SNAPSHOT = named('string', 'io.debezium.data.Enum', {
  parameters: { allowed: 'true,first,first_in_data_collection,last_in_data_collection,last,false,incremental' },
  default: 'false',
});

const STRING = required('string');
const INT64 = required('int64');

function fields(schemas: Readonly<Record<string, ConnectSchema>>): ConnectField[] {
  return Object.entries(schemas).map(([name, schema]) => ({ name, schema }));
}

/** Debezium's `source` block of PostgreSQL; values stand in this order. */
const SOURCE = named('struct', 'io.debezium.connector.postgresql.Source', {
  fields: fields({
    version: STRING,
    connector: STRING,
    name: STRING,
    ts_ms: INT64,
    snapshot: optional(SNAPSHOT),
    db: STRING,
    sequence: optional(STRING),
    ts_us: optional(INT64),
    ts_ns: optional(INT64),
    schema: STRING,
    table: STRING,
    txId: optional(INT64),
    lsn: optional(INT64),
    xmin: optional(INT64),
    origin: optional(STRING),
    origin_lsn: optional(INT64),
  }),
});

const TRANSACTION = named('struct', 'event.block', {
  fields: fields({ id: STRING, total_order: INT64, data_collection_order: INT64 }),
});

/** before, after, source, transaction, op, ts_ms, ts_us, ts_ns. */
export function envelopeSchema(topic: string, row: ConnectSchema): ConnectSchema {
  const image = optional(row);
  return required('struct', {
    name: `${topic}.Envelope`,
    version: 2,
    fields: fields({
      before: image,
      after: image,
      source: SOURCE,
      transaction: optional(TRANSACTION),
      op: STRING,
      ts_ms: optional(INT64),
      ts_us: optional(INT64),
      ts_ns: optional(INT64),
    }),
  });
}

export const TRANSACTION_KEY = named('struct', 'io.debezium.connector.common.TransactionMetadataKey', {
  fields: fields({ id: STRING }),
});

const COLLECTION = named('struct', 'event.collection', {
  fields: fields({ data_collection: STRING, event_count: INT64 }),
});

export const TRANSACTION_VALUE = named('struct', 'io.debezium.connector.common.TransactionMetadataValue', {
  fields: fields({
    status: STRING,
    id: STRING,
    event_count: optional(INT64),
    data_collections: optional(required('array', { items: optional(COLLECTION) })),
    ts_ms: INT64,
  }),
});

export const HEARTBEAT_KEY = named('struct', 'io.debezium.connector.common.ServerNameKey', {
  fields: fields({ serverName: STRING }),
});

export const HEARTBEAT_VALUE = named('struct', 'io.debezium.connector.common.Heartbeat', {
  fields: fields({ ts_ms: INT64 }),
});
