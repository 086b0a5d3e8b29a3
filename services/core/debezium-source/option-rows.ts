import * as z from 'zod';
import type { Option } from '#core/option-table.ts';

const text = z.string().min(1);
const topic = z.string().regex(/^!?[A-Za-z0-9._*?-]+$/, "a topic's name, with * and ? for any; ! before it excludes");

/** Topics that Debezium writes, in place of `source.postgres`. Below it, options of the connector have Debezium's own names. */
export const DEBEZIUM_SOURCE_OPTIONS = [
  {
    path: 'source.debezium.topics',
    type: z.array(topic).min(1),
    default: null,
    env: 'RESTAGE_SOURCE_DEBEZIUM_TOPICS',
    example: '["shop.public.*", "!shop.public.audit_*"]',
    about:
      "In place of `source.postgres`: the tables' topics that a Debezium connector for PostgreSQL writes, by name or glob; `!` excludes, the last match decides.",
  },
  {
    path: 'source.debezium.transaction.topic',
    type: text,
    default: null,
    env: 'RESTAGE_SOURCE_DEBEZIUM_TRANSACTION_TOPIC',
    example: 'shop.transaction',
    about:
      "The connector's topic of BEGIN and END (provide.transaction.metadata): targets then get whole transactions. Without it each table is followed by itself.",
  },
  {
    path: 'source.debezium.format',
    type: z.enum(['json', 'avro']),
    default: 'json',
    env: 'RESTAGE_SOURCE_DEBEZIUM_FORMAT',
    example: 'avro',
    about: "The connector's converters: JSON, or Avro in the frame of `kafka.registry.url`.",
  },
  {
    path: 'source.debezium.schemas.enable',
    type: z.boolean(),
    default: true,
    env: 'RESTAGE_SOURCE_DEBEZIUM_SCHEMAS_ENABLE',
    example: 'false',
    about:
      'JSON: whether keys and values carry their schemas. Without, the modes below must be said where values depend on them.',
  },
  {
    path: 'source.debezium.tables.*',
    type: text,
    default: null,
    env: null,
    example: '{ public.old_orders: public.orders }',
    about: "Tables with another name at the target: the events' `schema.table` to the target's.",
  },
  {
    path: 'source.debezium.snapshots.whole',
    type: z.boolean(),
    default: true,
    env: 'RESTAGE_SOURCE_DEBEZIUM_SNAPSHOTS_WHOLE',
    example: 'false',
    about:
      'A snapshot that is taken again has all rows of its tables: rows that it does not show are removed. False for snapshots with conditions.',
  },
  {
    path: 'source.debezium.decimal.handling.mode',
    type: z.enum(['precise', 'double', 'string']),
    default: null,
    env: 'RESTAGE_SOURCE_DEBEZIUM_DECIMAL_HANDLING_MODE',
    example: 'string',
    about: 'As the connector has it; needed without schemas, where a table has numeric or money.',
  },
  {
    path: 'source.debezium.time.precision.mode',
    type: z.enum(['adaptive', 'adaptive_time_microseconds', 'connect', 'isostring', 'microseconds', 'nanoseconds']),
    default: null,
    env: 'RESTAGE_SOURCE_DEBEZIUM_TIME_PRECISION_MODE',
    example: 'adaptive',
    about: 'As the connector has it; needed without schemas, where a table has date, time or timestamp.',
  },
  {
    path: 'source.debezium.binary.handling.mode',
    type: z.enum(['bytes', 'base64', 'base64-url-safe', 'hex']),
    default: 'bytes',
    env: 'RESTAGE_SOURCE_DEBEZIUM_BINARY_HANDLING_MODE',
    example: 'hex',
    about: 'As the connector has it: no schema tells how bytea was written as text.',
  },
  {
    path: 'source.debezium.unavailable.value.placeholder',
    type: text,
    default: '__debezium_unavailable_value',
    env: 'RESTAGE_SOURCE_DEBEZIUM_UNAVAILABLE_VALUE_PLACEHOLDER',
    example: '__unchanged',
    about:
      'As the connector has it: what stands for a TOASTed value that an UPDATE left alone. `hex:` before its bytes.',
  },
] as const satisfies readonly Option[];
