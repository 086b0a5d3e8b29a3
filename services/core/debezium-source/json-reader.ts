import { endOfJson, JsonNumber, parseExactJson, type Json } from './exact-json.ts';
import { Digits, type WireDatum, type WireSchema, type WireValue } from './wire-value.ts';

const HEAD = '{"schema":';
const MIDDLE = ',"payload":';
const NO_FIELDS: ReadonlyMap<string, never> = new Map<string, never>();
const TYPES: ReadonlySet<string> = new Set([
  'int8',
  'int16',
  'int32',
  'int64',
  'float',
  'double',
  'boolean',
  'string',
  'bytes',
  'array',
  'map',
  'struct',
]);
const MOST_SCHEMAS = 16;

/** Reads one topic's keys or values as JsonConverter writes them (Kafka Connect: "JsonConverter", schemas.enable). */
export class JsonReader {
  readonly #hasSchemas: boolean;
  /** The text in front of the payload, and its schema: it is the same in all records of a shape. Newest first. */
  readonly #heads: { readonly text: string; readonly schema: WireSchema | null }[] = [];

  constructor(hasSchemas: boolean) {
    this.#hasSchemas = hasSchemas;
  }

  /** @throws SyntaxError where it is not JSON, or not what JsonConverter writes. */
  read(bytes: Buffer): WireDatum {
    const text = bytes.toString('utf8');
    if (!this.#hasSchemas) return { schema: null, value: toWire(parseExactJson(text), null) };
    const head = this.#headOf(text);
    if (head === null) return readWhole(parseExactJson(text));
    if (!text.endsWith('}')) throw new SyntaxError('it ends too early');
    const payload = parseExactJson(text.slice(head.text.length, -1));
    return { schema: head.schema, value: toWire(payload, head.schema) };
  }

  #headOf(text: string): { readonly text: string; readonly schema: WireSchema | null } | null {
    const known = this.#heads.find((head) => text.startsWith(head.text));
    if (known !== undefined) return known;
    if (!text.startsWith(HEAD)) return null;
    const end = endOfJson(text, HEAD.length);
    if (!text.startsWith(MIDDLE, end)) return null;
    const head = {
      text: text.slice(0, end + MIDDLE.length),
      schema: toSchema(parseExactJson(text.slice(HEAD.length, end))),
    };
    this.#heads.unshift(head);
    if (this.#heads.length > MOST_SCHEMAS) this.#heads.pop();
    return head;
  }
}

function readWhole(whole: Json): WireDatum {
  if (!(whole instanceof Map) || !whole.has('payload') || !whole.has('schema'))
    throw new SyntaxError('it has no schema and payload');
  const schema = toSchema(whole.get('schema') ?? null);
  return { schema, value: toWire(whole.get('payload') ?? null, schema) };
}

function toSchema(json: Json): WireSchema | null {
  if (json === null) return null;
  if (!(json instanceof Map)) throw new SyntaxError('a schema is no object');
  const type = json.get('type');
  if (typeof type !== 'string' || !TYPES.has(type)) throw new SyntaxError('a schema has no known type');
  const name = json.get('name');
  const parameters = json.get('parameters');
  return {
    type: type as WireSchema['type'],
    name: typeof name === 'string' ? name : '',
    parameters:
      parameters instanceof Map ? new Map([...parameters].map(([key, one]) => [key, plainText(one)])) : NO_FIELDS,
    fields: fieldsOf(json.get('fields') ?? null),
    items: toSchema(json.get(type === 'map' ? 'values' : 'items') ?? null),
  };
}

function plainText(json: Json): string {
  if (json instanceof JsonNumber) return json.text;
  return typeof json === 'string' ? json : '';
}

function fieldsOf(json: Json): ReadonlyMap<string, WireSchema> {
  if (!Array.isArray(json)) return NO_FIELDS;
  const fields = new Map<string, WireSchema>();
  for (const one of json as readonly Json[]) {
    const name = one instanceof Map ? one.get('field') : undefined;
    const schema = toSchema(one);
    if (typeof name !== 'string' || schema === null) throw new SyntaxError('a field of a schema has no name');
    fields.set(name, schema);
  }
  return fields;
}

/** Without a schema, integers are told from other numbers by their digits alone. */
function toWire(json: Json, schema: WireSchema | null): WireValue {
  if (json === null || typeof json === 'boolean') return json;
  if (json instanceof JsonNumber)
    return /^-?\d+$/.test(json.text) ? integerWire(json.text, schema) : new Digits(json.text);
  if (typeof json === 'string') return schema?.type === 'bytes' ? Buffer.from(json, 'base64') : json;
  if (Array.isArray(json)) return (json as readonly Json[]).map((item) => toWire(item, schema?.items ?? null));
  const entries = new Map<string, WireValue>();
  for (const [name, value] of json as ReadonlyMap<string, Json>) {
    const inner = schema?.type === 'map' ? schema.items : (schema?.fields.get(name) ?? null);
    entries.set(name, toWire(value, inner));
  }
  return entries;
}

function integerWire(text: string, schema: WireSchema | null): WireValue {
  const isFraction = schema?.type === 'double' || schema?.type === 'float' || schema?.type === 'bytes';
  return isFraction ? new Digits(text) : BigInt(text);
}
