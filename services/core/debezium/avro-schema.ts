import type { ConnectField, ConnectSchema, ConnectValue } from './connect-schema.ts';
import { jsonWriter } from './json-converter.ts';

const PLAIN: Readonly<Record<string, string>> = {
  int16: 'int',
  int32: 'int',
  int64: 'long',
  float: 'float',
  double: 'double',
  boolean: 'boolean',
  string: 'string',
  bytes: 'bytes',
};

/** Avro's names for Kafka Connect's logical types. */
const LOGICAL: Readonly<Record<string, string>> = {
  'org.apache.kafka.connect.data.Date': 'date',
  'org.apache.kafka.connect.data.Time': 'time-millis',
  'org.apache.kafka.connect.data.Timestamp': 'timestamp-millis',
};
const DECIMAL = 'org.apache.kafka.connect.data.Decimal';
const DEFAULT_PRECISION = '64';

/** A Connect schema in Avro, as Confluent's AvroData maps it: names, versions and parameters as `connect.…`, optional as a union with null. */
export function avroSchema(schema: ConnectSchema): string {
  return typeText(schema, new Set());
}

/** Where null stands in an optional value's union: behind, where a default must match the first. */
export function isNullFirst(schema: ConnectSchema): boolean {
  return schema.default === undefined;
}

/** Avro allows letters, digits and `_` between dots; others become `_` (Debezium: schema.name.adjustment.mode=avro). */
export function avroName(name: string): string {
  return name
    .split('.')
    .map((part) => part.replaceAll(/\W/g, '_').replace(/^(?=\d)/, '_'))
    .join('.');
}

function typeText(schema: ConnectSchema, known: Set<string>): string {
  const base = baseText(schema, known);
  if (!schema.optional) return base;
  return isNullFirst(schema) ? `["null",${base}]` : `[${base},"null"]`;
}

function baseText(schema: ConnectSchema, known: Set<string>): string {
  const { type, name, version, doc, parameters } = schema;
  if (type === 'struct') return recordText(schema, known);
  const parts = [`"type":"${type === 'array' || type === 'map' ? type : PLAIN[type]}"`];
  if (type === 'array' && schema.items !== undefined) parts.push(`"items":${typeText(schema.items, known)}`);
  if (type === 'map') parts.push(`"values":["null","string"]`);
  if (name === DECIMAL) {
    const precision = parameters?.['connect.decimal.precision'] ?? DEFAULT_PRECISION;
    parts.push(`"scale":${parameters?.['scale']}`, `"precision":${precision}`);
  }
  if (doc !== undefined) parts.push(`"connect.doc":${JSON.stringify(doc)}`);
  if (version !== undefined) parts.push(`"connect.version":${version}`);
  if (parameters !== undefined) parts.push(`"connect.parameters":${JSON.stringify(parameters)}`);
  if (schema.default !== undefined) parts.push(`"connect.default":${defaultText(schema, schema.default)}`);
  if (type === 'int16') parts.push(`"connect.type":"int16"`);
  if (name !== undefined) parts.push(`"connect.name":${JSON.stringify(name)}`);
  const logical = name === DECIMAL ? 'decimal' : LOGICAL[name ?? ''];
  if (logical !== undefined) parts.push(`"logicalType":"${logical}"`);
  return parts.length === 1 ? `"${PLAIN[type]}"` : `{${parts.join(',')}}`;
}

/** Defined once, then named. */
function recordText({ name = 'ConnectDefault', version, doc, fields = [] }: ConnectSchema, known: Set<string>): string {
  const full = avroName(name);
  if (known.has(full)) return JSON.stringify(full);
  known.add(full);
  const dot = full.lastIndexOf('.');
  const parts = [`"type":"record"`, `"name":${JSON.stringify(full.slice(dot + 1))}`];
  if (dot > 0) parts.push(`"namespace":${JSON.stringify(full.slice(0, dot))}`);
  parts.push(`"fields":[${fields.map((field) => fieldText(field, known)).join(',')}]`);
  if (doc !== undefined) parts.push(`"connect.doc":${JSON.stringify(doc)}`);
  if (version !== undefined) parts.push(`"connect.version":${version}`);
  parts.push(`"connect.name":${JSON.stringify(name)}`);
  return `{${parts.join(',')}}`;
}

function fieldText({ name, schema }: ConnectField, known: Set<string>): string {
  const parts = [`"name":${JSON.stringify(avroName(name))}`, `"type":${typeText(schema, known)}`];
  if (schema.default !== undefined) parts.push(`"default":${defaultText(schema, schema.default)}`);
  else if (schema.optional) parts.push(`"default":null`);
  return `{${parts.join(',')}}`;
}

/** Avro writes bytes in a schema as a string of their code points. */
function defaultText(schema: ConnectSchema, value: ConnectValue): string {
  return Buffer.isBuffer(value) ? JSON.stringify(value.toString('latin1')) : jsonWriter(schema)(value);
}
