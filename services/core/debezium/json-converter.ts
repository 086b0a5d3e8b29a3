import type { ConnectSchema, ConnectValue } from './connect-schema.ts';

/** Writes values of one schema as Kafka Connect's JsonConverter does: bytes as base64, int64 as digits, NaN and infinities as strings. */
export type JsonWriter = (value: ConnectValue) => string;

/** With `schemasEnable`: `{"schema":…,"payload":…}`, else the payload alone. */
export function jsonConverter(schema: ConnectSchema, schemasEnable: boolean): JsonWriter {
  const write = jsonWriter(schema);
  if (!schemasEnable) return write;
  const head = `{"schema":${schemaJson(schema, null)},"payload":`;
  return (value) => `${head}${write(value)}}`;
}

/** One writer for the payload, made once per schema. */
export function jsonWriter(schema: ConnectSchema): JsonWriter {
  const write = writerOf(schema);
  return (value) => (value === null ? 'null' : write(value));
}

function writerOf(schema: ConnectSchema): JsonWriter {
  switch (schema.type) {
    case 'struct': {
      const fields = (schema.fields ?? []).map((field) => ({
        head: `${JSON.stringify(field.name)}:`,
        write: jsonWriter(field.schema),
      }));
      return (value) => {
        const values = value as readonly ConnectValue[];
        return `{${fields.map(({ head, write }, index) => head + write(values[index] ?? null)).join(',')}}`;
      };
    }
    case 'array': {
      const write = schema.items === undefined ? writeScalar : jsonWriter(schema.items);
      return (value) => `[${(value as readonly ConnectValue[]).map(write).join(',')}]`;
    }
    case 'map':
      return (value) => JSON.stringify(Object.fromEntries(value as ReadonlyMap<string, string | null>));
    default:
      return writeScalar;
  }
}

function writeScalar(value: ConnectValue): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'number':
      if (!Number.isFinite(value)) return `"${value}"`;
      return Object.is(value, -0) ? '-0.0' : String(value);
    case 'object':
      return Buffer.isBuffer(value) ? `"${value.toString('base64')}"` : 'null';
    default:
      return String(value);
  }
}

/** A schema as it stands in a record; the keys in JsonConverter's order. Text, for a default may have more digits than a number. */
function schemaJson(schema: ConnectSchema, field: string | null): string {
  const { type, name, version, doc, parameters, fields, items } = schema;
  const parts = [`"type":"${type}"`];
  if (fields !== undefined) parts.push(`"fields":[${fields.map((one) => schemaJson(one.schema, one.name)).join(',')}]`);
  if (items !== undefined) parts.push(`"items":${schemaJson(items, null)}`);
  if (type === 'map') parts.push(MAP_PARTS);
  parts.push(`"optional":${schema.optional}`);
  for (const [key, value] of Object.entries({ name, version, doc, parameters }))
    if (value !== undefined) parts.push(`"${key}":${JSON.stringify(value)}`);
  if (schema.default !== undefined) parts.push(`"default":${jsonWriter(schema)(schema.default)}`);
  if (field !== null) parts.push(`"field":${JSON.stringify(field)}`);
  return `{${parts.join(',')}}`;
}

const MAP_PARTS = `"keys":{"type":"string","optional":false},"values":{"type":"string","optional":true}`;
