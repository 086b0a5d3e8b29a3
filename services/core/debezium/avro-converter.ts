import { isNullFirst } from './avro-schema.ts';
import type { ConnectSchema, ConnectValue } from './connect-schema.ts';

const FRAME_BYTES = 5;

/** Writes values of one schema in Avro's binary encoding, in the frame of Confluent's registry: zero byte, schema id, datum. */
export function avroConverter(schema: ConnectSchema, id: number): (value: ConnectValue) => Buffer {
  const frame = Buffer.alloc(FRAME_BYTES);
  frame.writeUInt32BE(id, 1);
  const write = writerOf(schema);
  const sink = new AvroSink();
  return (value) => {
    sink.begin(frame);
    write(sink, value);
    return sink.end();
  };
}

type Writer = (sink: AvroSink, value: ConnectValue) => void;

function writerOf(schema: ConnectSchema): Writer {
  const write = valueWriter(schema);
  if (!schema.optional) return write;
  const ofNull = isNullFirst(schema) ? 0 : 1;
  return (sink, value) => {
    sink.long(value === null ? ofNull : 1 - ofNull);
    if (value !== null) write(sink, value);
  };
}

function valueWriter(schema: ConnectSchema): Writer {
  switch (schema.type) {
    case 'struct': {
      const writers = (schema.fields ?? []).map((field) => writerOf(field.schema));
      return (sink, value) => {
        const values = value as readonly ConnectValue[];
        for (const [index, write] of writers.entries()) write(sink, values[index] ?? null);
      };
    }
    case 'array': {
      const write = schema.items === undefined ? SCALARS.string : writerOf(schema.items);
      return (sink, value) => {
        const items = value as readonly ConnectValue[];
        if (items.length > 0) sink.long(items.length);
        for (const item of items) write(sink, item);
        sink.long(0);
      };
    }
    case 'map':
      return (sink, value) => {
        const entries = value as ReadonlyMap<string, string | null>;
        if (entries.size > 0) sink.long(entries.size);
        for (const [key, text] of entries) {
          SCALARS.string(sink, key);
          sink.long(text === null ? 0 : 1);
          if (text !== null) SCALARS.string(sink, text);
        }
        sink.long(0);
      };
    default:
      return SCALARS[schema.type];
  }
}

const integer: Writer = (sink, value) => sink.long(value as number | bigint);

const SCALARS = {
  int16: integer,
  int32: integer,
  int64: integer,
  float: (sink, value) => sink.float(value as number),
  double: (sink, value) => sink.double(value as number),
  boolean: (sink, value) => sink.byte(value === true ? 1 : 0),
  string: (sink, value) => sink.bytes(Buffer.from(value as string)),
  bytes: (sink, value) => sink.bytes(value as Buffer),
} as const satisfies Readonly<Record<string, Writer>>;

const FIRST_BYTES = 4096;
const LONGEST_VARINT = 10;
const SMALL = 2 ** 51;

/** A growing buffer, reused from datum to datum. */
class AvroSink {
  #buffer = Buffer.allocUnsafe(FIRST_BYTES);
  #at = 0;

  begin(frame: Buffer): void {
    frame.copy(this.#buffer);
    this.#at = frame.length;
  }

  end(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.#at));
  }

  /** Zig-zag, then seven bits a byte, the lowest first. As numbers where twice the value is exact, which is four times as fast. */
  long(value: number | bigint): void {
    this.#reserve(LONGEST_VARINT);
    const plain = Number(value);
    if (plain > SMALL || plain < -SMALL) {
      this.#bigLong(BigInt(value));
      return;
    }
    let rest = plain >= 0 ? plain * 2 : -plain * 2 - 1;
    while (rest > 127) {
      this.#buffer[this.#at++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.#buffer[this.#at++] = rest;
  }

  #bigLong(value: bigint): void {
    let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
    while (rest > 127n) {
      this.#buffer[this.#at++] = Number(rest & 127n) | 128;
      rest >>= 7n;
    }
    this.#buffer[this.#at++] = Number(rest);
  }

  float(value: number): void {
    this.#reserve(4);
    this.#at = this.#buffer.writeFloatLE(value, this.#at);
  }

  double(value: number): void {
    this.#reserve(8);
    this.#at = this.#buffer.writeDoubleLE(value, this.#at);
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#buffer[this.#at++] = value;
  }

  bytes(value: Buffer): void {
    this.long(value.length);
    this.#reserve(value.length);
    this.#at += value.copy(this.#buffer, this.#at);
  }

  #reserve(more: number): void {
    if (this.#at + more <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#at + more, this.#buffer.length * 2));
    this.#buffer.copy(grown, 0, 0, this.#at);
    this.#buffer = grown;
  }
}
