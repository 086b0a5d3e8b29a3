import { parseExactJson, JsonNumber, type Json } from './exact-json.ts';
import type { WireDatum, WireSchema, WireValue } from './wire-value.ts';

const FRAME_BYTES = 5;
const NO_ENTRIES: ReadonlyMap<string, never> = new Map<string, never>();
const MOST_ITEMS = 16_777_216;
const PLAIN: Readonly<Record<string, WireSchema['type']>> = {
  int: 'int32',
  long: 'int64',
  float: 'float',
  double: 'double',
  boolean: 'boolean',
  string: 'string',
  bytes: 'bytes',
};

/** The id in a frame of Confluent's registry (zero byte, big-endian int32, datum). @throws SyntaxError where it is none. */
export function schemaIdOf(bytes: Buffer): number {
  if (bytes.length < FRAME_BYTES || bytes[0] !== 0)
    throw new SyntaxError('it does not begin with the zero byte and schema id of a registry');
  return bytes.readUInt32BE(1);
}

/** Reads data of one registered Avro schema as Kafka Connect's values (Confluent: AvroData; Avro 1.11: "Binary Encoding"). */
export class AvroReader {
  readonly #schema: WireSchema;
  readonly #read: Read;

  /** @throws SyntaxError where the text is no Avro schema that Kafka Connect writes. */
  constructor(schemaText: string) {
    const builder = new Builder();
    const node = builder.node(parseExactJson(schemaText), '');
    this.#schema = node.schema;
    this.#read = node.read;
  }

  /** @throws SyntaxError where the bytes are not of this schema. */
  read(bytes: Buffer): WireDatum {
    const cursor = new Cursor(bytes, FRAME_BYTES);
    try {
      const value = this.#read(cursor);
      if (cursor.at !== bytes.length) throw new SyntaxError('bytes are left over');
      return { schema: this.#schema, value };
    } catch (error) {
      if (error instanceof RangeError) throw new SyntaxError('it ends too early', { cause: error });
      throw error;
    }
  }
}

type Read = (cursor: Cursor) => WireValue;

interface AvroNode {
  readonly schema: WireSchema;
  readonly read: Read;
}

const NULL_SCHEMA: WireSchema = { type: 'string', name: '', parameters: NO_ENTRIES, fields: NO_ENTRIES, items: null };

class Builder {
  readonly #known = new Map<string, AvroNode>();

  node(json: Json, namespace: string): AvroNode {
    if (typeof json === 'string') return this.#named(json, namespace);
    if (Array.isArray(json)) return this.#union(json as readonly Json[], namespace);
    if (!(json instanceof Map)) throw new SyntaxError('the registered schema is no Avro schema');
    const type = json.get('type') ?? null;
    switch (type) {
      case 'record':
        return this.#record(json, namespace);
      case 'array':
        return this.#array(json, namespace);
      case 'map':
        return this.#map(json, namespace);
      default:
        return this.#scalar(json, type, namespace);
    }
  }

  #named(name: string, namespace: string): AvroNode {
    const plain = PLAIN[name];
    if (plain !== undefined) return { schema: { ...NULL_SCHEMA, type: plain }, read: SCALARS[plain] ?? readString };
    if (name === 'null') return { schema: NULL_SCHEMA, read: () => null };
    const known = this.#known.get(name) ?? this.#known.get(`${namespace}.${name}`);
    if (known === undefined) throw new SyntaxError('the registered schema names a type that it does not define');
    return known;
  }

  #scalar(json: ReadonlyMap<string, Json>, type: Json, namespace: string): AvroNode {
    const inner = this.node(type, namespace);
    const connect = json.get('connect.type');
    const schema: WireSchema = {
      ...inner.schema,
      type: connect === 'int16' || connect === 'int8' ? connect : inner.schema.type,
      name: nameOf(json) || LOGICAL[text(json.get('logicalType'))] || inner.schema.name,
      parameters: new Map([...parametersOf(json), ...scaleOf(json)]),
    };
    return { schema, read: inner.read };
  }

  #union(branches: readonly Json[], namespace: string): AvroNode {
    const nodes = branches.map((branch) => ({ isNull: branch === 'null', ...this.node(branch, namespace) }));
    const values = nodes.filter(({ isNull }) => !isNull);
    const [only] = values;
    if (only === undefined || values.length > 1)
      throw new SyntaxError('the registered schema has a union of several types');
    return {
      schema: only.schema,
      read: (cursor) => {
        const branch = nodes[Number(cursor.long())];
        if (branch === undefined) throw new SyntaxError('a union has no such branch');
        return branch.read(cursor);
      },
    };
  }

  #record(json: ReadonlyMap<string, Json>, outer: string): AvroNode {
    const name = text(json.get('name'));
    const namespace = json.has('namespace') ? text(json.get('namespace')) : outer;
    const full = name.includes('.') || namespace === '' ? name : `${namespace}.${name}`;
    const fields = new Map<string, WireSchema>();
    const reads: (readonly [string, Read])[] = [];
    const node: AvroNode = {
      schema: { type: 'struct', name: nameOf(json) || full, parameters: parametersOf(json), fields, items: null },
      read: (cursor) => new Map(reads.map(([field, read]) => [field, read(cursor)])),
    };
    this.#known.set(full, node);
    for (const field of (json.get('fields') ?? []) as readonly Json[]) {
      if (!(field instanceof Map)) throw new SyntaxError('the registered schema has a field that is none');
      const inner = this.node(field.get('type') ?? null, full.slice(0, Math.max(0, full.lastIndexOf('.'))));
      const fieldName = text(field.get('name'));
      fields.set(fieldName, inner.schema);
      reads.push([fieldName, inner.read]);
    }
    return node;
  }

  #array(json: ReadonlyMap<string, Json>, namespace: string): AvroNode {
    const item = this.node(json.get('items') ?? null, namespace);
    const schema: WireSchema = { ...NULL_SCHEMA, type: 'array', name: nameOf(json), items: item.schema };
    return { schema, read: (cursor) => blocks(cursor, item.read) };
  }

  #map(json: ReadonlyMap<string, Json>, namespace: string): AvroNode {
    const item = this.node(json.get('values') ?? null, namespace);
    const schema: WireSchema = { ...NULL_SCHEMA, type: 'map', name: nameOf(json), items: item.schema };
    const entry: Read = (cursor) => [cursor.sized().toString('utf8'), item.read(cursor)];
    return {
      schema,
      read: (cursor) => new Map(blocks(cursor, entry).map((pair) => pair as unknown as readonly [string, WireValue])),
    };
  }
}

const LOGICAL: Readonly<Record<string, string>> = {
  decimal: 'org.apache.kafka.connect.data.Decimal',
  date: 'org.apache.kafka.connect.data.Date',
  'time-millis': 'org.apache.kafka.connect.data.Time',
  'timestamp-millis': 'org.apache.kafka.connect.data.Timestamp',
};

const readInteger: Read = (cursor) => cursor.long();
const readString: Read = (cursor) => cursor.sized().toString('utf8');

const SCALARS: Readonly<Partial<Record<WireSchema['type'], Read>>> = {
  int32: readInteger,
  int64: readInteger,
  float: (cursor) => Math.fround(cursor.take(4).readFloatLE()),
  double: (cursor) => cursor.take(8).readDoubleLE(),
  boolean: (cursor) => cursor.take(1)[0] === 1,
  string: readString,
  bytes: (cursor) => cursor.sized(),
};

/** Blocks of items, each with its count; a negative one is followed by the block's size. */
function blocks(cursor: Cursor, read: Read): WireValue[] {
  const items: WireValue[] = [];
  for (let count = cursor.long(); count !== 0n; count = cursor.long()) {
    if (count < 0n) cursor.long();
    const size = Number(count < 0n ? -count : count);
    if (items.length + size > MOST_ITEMS) throw new SyntaxError('a list is longer than any value');
    for (let index = 0; index < size; index += 1) items.push(read(cursor));
  }
  return items;
}

function text(json: Json | undefined): string {
  return typeof json === 'string' ? json : '';
}

function nameOf(json: ReadonlyMap<string, Json>): string {
  return text(json.get('connect.name'));
}

function parametersOf(json: ReadonlyMap<string, Json>): ReadonlyMap<string, string> {
  const given = json.get('connect.parameters');
  return given instanceof Map ? new Map([...given].map(([key, one]) => [key, text(one)])) : NO_ENTRIES;
}

function scaleOf(json: ReadonlyMap<string, Json>): (readonly [string, string])[] {
  const scale = json.get('scale');
  return scale instanceof JsonNumber ? [['scale', scale.text]] : [];
}

class Cursor {
  at: number;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  /** Zig-zag varint. */
  long(): bigint {
    let result = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.take(1)[0] ?? 0;
      result |= BigInt(byte & 127) << shift;
      if (byte < 128) return (result >> 1n) ^ -(result & 1n);
    }
    throw new SyntaxError('a number has too many bytes');
  }

  sized(): Buffer {
    return this.take(Number(this.long()));
  }

  take(size: number): Buffer {
    const from = this.at;
    if (size < 0 || from + size > this.#bytes.length) throw new RangeError('past the end');
    this.at = from + size;
    return this.#bytes.subarray(from, this.at);
  }
}
