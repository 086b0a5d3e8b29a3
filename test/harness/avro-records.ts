import avsc from 'avsc';
import type { ReadRecord } from './topic-records.ts';

/** Zero byte, four of the schema's id (Confluent: "Wire format"). */
const FRAME_BYTES = 5;

/** avsc's own longs are numbers. */
// oxlint-disable-next-line no-underscore-dangle -- avsc's own name
const LONG = avsc.types.LongType.__with({
  fromBuffer: (buffer: Buffer) => buffer.readBigInt64LE(),
  toBuffer: (value: bigint) => {
    const buffer = Buffer.alloc(8);
    buffer.writeBigInt64LE(value);
    return buffer;
  },
  fromJSON: BigInt,
  toJSON: Number,
  isValid: (value: unknown) => typeof value === 'bigint',
  compare: (a: bigint, b: bigint) => (a === b ? 0 : a < b ? -1 : 1),
});

/** Every long as a bigint, also past 2^53. */
export function longsAreExact(schema: unknown): avsc.Type | undefined {
  const type: unknown = typeof schema === 'object' && schema !== null && 'type' in schema ? schema.type : schema;
  return type === 'long' ? LONG : undefined;
}

/** Reads records of Confluent's frame as another decoder does: JSON of `schema`, as the registry has it, and `payload`. */
export class AvroRecords {
  readonly #registry: string;
  readonly #schemas = new Map<number, Promise<{ readonly text: string; readonly type: avsc.Type }>>();

  /** `registry` as in kafka.registry.url. */
  constructor(registry: string) {
    this.#registry = registry;
  }

  async plain(record: ReadRecord): Promise<ReadRecord> {
    const [key, value] = await Promise.all([this.#json(record.key), this.#json(record.value)]);
    return { ...record, key, value };
  }

  async #json(bytes: Buffer | null): Promise<Buffer | null> {
    if (bytes === null) return null;
    if (bytes[0] !== 0) throw new Error(`no frame of a registry: ${bytes.subarray(0, FRAME_BYTES).toString('hex')}`);
    const { text, type } = await this.#schema(bytes.readUInt32BE(1));
    const payload: unknown = type.fromBuffer(bytes.subarray(FRAME_BYTES));
    return Buffer.from(`{"schema":${text},"payload":${JSON.stringify(payload, exactly)}}`);
  }

  #schema(id: number): Promise<{ readonly text: string; readonly type: avsc.Type }> {
    const known = this.#schemas.get(id) ?? this.#fetch(id);
    this.#schemas.set(id, known);
    return known;
  }

  async #fetch(id: number): Promise<{ readonly text: string; readonly type: avsc.Type }> {
    const response = await fetch(`${this.#registry}/schemas/ids/${id}`);
    if (!response.ok) throw new Error(`schema ${id}: ${await response.text()}`);
    const { schema } = (await response.json()) as { readonly schema: string };
    return {
      text: JSON.stringify(withFullNames(JSON.parse(schema), '')),
      type: avsc.Type.forSchema(JSON.parse(schema) as avsc.Schema, { typeHook: longsAreExact }),
    };
  }
}

/** A name without a namespace is of the one around it (Avro: "Names"); some writers leave it out there. */
function withFullNames(schema: unknown, around: string): unknown {
  const full = (name: string, space: string): string =>
    PRIMITIVE.has(name) || name.includes('.') || space === '' ? name : `${space}.${name}`;
  if (typeof schema === 'string') return full(schema, around);
  if (Array.isArray(schema)) return schema.map((one) => withFullNames(one, around));
  const { namespace: own, ...rest } = schema as { readonly [key: string]: unknown };
  const space = typeof own === 'string' ? own : around;
  const { type, name, items, values, fields } = rest;
  if (type === 'record' && Array.isArray(fields)) {
    const fieldsInFull = fields.map((field: object) => ({
      ...field,
      ...('type' in field && { type: withFullNames(field.type, space) }),
    }));
    return { ...rest, name: full(String(name), space), fields: fieldsInFull };
  }
  return {
    ...rest,
    type: withFullNames(type, space),
    ...(items !== undefined && { items: withFullNames(items, space) }),
    ...(values !== undefined && { values: withFullNames(values, space) }),
  };
}

const PRIMITIVE: ReadonlySet<string> = new Set(
  'null boolean int long float double bytes string array map record'.split(' '),
);

function exactly(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number' && (!Number.isFinite(value) || Object.is(value, -0)))
    return Object.is(value, -0) ? '-0' : String(value);
  if (isSerializedBuffer(value)) return Buffer.from(value.data).toString('hex');
  return value;
}

function isSerializedBuffer(value: unknown): value is { readonly data: readonly number[] } {
  return typeof value === 'object' && value !== null && 'type' in value && value.type === 'Buffer' && 'data' in value;
}
