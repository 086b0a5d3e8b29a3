import { createHash } from 'node:crypto';
import { named, optional, required, type ConnectValue } from './connect-schema.ts';
import { parseArray, parseHstore } from './container-text.ts';
import { bits, bool, float4, float8, int2, int4, int8, money, numeric } from './number-mappers.ts';
import type { DebeziumOptions } from './options.ts';
import { date, interval, time, timestamp, timestamptz, timetz } from './time-mappers.ts';
import { textMapper, type ColumnType, type MapperFactory, type ValueMapper } from './value-mapper.ts';

const text: MapperFactory = (_type, options) => textMapper(required('string'), options);

function textNamed(name: string): MapperFactory {
  return (_type, options) => textMapper(named('string', name), options);
}

const json = textNamed('io.debezium.data.Json');

const bytea: MapperFactory = (_type, options) => {
  const { binaryHandlingMode: mode, unavailableValuePlaceholder } = options;
  if (mode === 'bytes') {
    return {
      schema: required('bytes'),
      convert: bytesOf,
      zero: Buffer.alloc(0),
      unavailable: Buffer.from(unavailableValuePlaceholder),
    };
  }
  const convert = (value: string): string => {
    if (mode === 'hex') return value.slice(2);
    const base64 = bytesOf(value).toString('base64');
    return mode === 'base64' ? base64 : base64.replaceAll('+', '-').replaceAll('/', '_');
  };
  return { ...textMapper(required('string'), options), convert };
};

const hstore: MapperFactory = (type, options) => {
  const placeholder = new Map([[options.unavailableValuePlaceholder, options.unavailableValuePlaceholder]]);
  if (options.hstoreHandlingMode === 'map')
    return { schema: required('map'), convert: parseHstore, zero: new Map(), unavailable: placeholder };
  const asJson = (pairs: ReadonlyMap<string, string | null>): string => JSON.stringify(Object.fromEntries(pairs));
  const mapper = json(type, options);
  return mapper === null
    ? null
    : { ...mapper, convert: (value) => asJson(parseHstore(value)), zero: '{}', unavailable: asJson(placeholder) };
};

const POINT = named('struct', 'io.debezium.data.geometry.Point', {
  doc: 'Geometry (POINT)',
  fields: [
    { name: 'x', schema: required('double') },
    { name: 'y', schema: required('double') },
    { name: 'wkb', schema: optional(required('bytes')) },
    { name: 'srid', schema: optional(required('int32')) },
  ],
});

const point = (): ValueMapper => ({
  schema: POINT,
  convert: (value) => {
    const [x = 0, y = 0] = value.slice(1, -1).split(',').map(Number);
    return pointOf(x, y);
  },
  zero: pointOf(0, 0),
  unavailable: null,
});

/** By pg_type.typname, as Debezium's PostgresValueConverter maps them. What is not here is left out of events. */
const SCALARS: Readonly<Record<string, MapperFactory>> = {
  bool,
  bit: bits,
  varbit: bits,
  int2,
  int4,
  int8,
  oid: int8,
  float4,
  float8,
  numeric,
  money,
  text,
  varchar: text,
  bpchar: text,
  char: text,
  name: text,
  citext: text,
  int4range: text,
  int8range: text,
  numrange: text,
  tsrange: text,
  tstzrange: text,
  daterange: text,
  inet: text,
  cidr: text,
  macaddr: text,
  macaddr8: text,
  json,
  jsonb: json,
  xml: textNamed('io.debezium.data.Xml'),
  uuid: textNamed('io.debezium.data.Uuid'),
  ltree: textNamed('io.debezium.data.Ltree'),
  tsvector: textNamed('io.debezium.data.Tsvector'),
  bytea,
  hstore,
  date,
  time,
  timetz,
  timestamp,
  timestamptz,
  interval,
  point,
};

/** Debezium has no form for arrays of these. */
const NO_ARRAYS: ReadonlySet<string> = new Set([
  'bit',
  'varbit',
  'money',
  'name',
  'interval',
  'xml',
  'point',
  'tsvector',
]);

/** null: a type that Debezium leaves out. */
export function mapperOf(type: ColumnType, options: DebeziumOptions): ValueMapper | null {
  if (!type.isArray) return scalarOf(type, options);
  if (NO_ARRAYS.has(type.name)) return null;
  const element = scalarOf(type, options);
  return element === null ? null : arrayOf(element, type.name, options);
}

function scalarOf(type: ColumnType, options: DebeziumOptions): ValueMapper | null {
  const factory = Object.hasOwn(SCALARS, type.name) ? SCALARS[type.name] : undefined;
  if (factory !== undefined) return factory(type, options);
  if (type.labels === null) return null;
  const schema = named('string', 'io.debezium.data.Enum', { parameters: { allowed: type.labels.join(',') } });
  return { ...textMapper(schema, options), unavailable: null };
}

function arrayOf(element: ValueMapper, name: string, options: DebeziumOptions): ValueMapper {
  const isEnum = element.schema.name === 'io.debezium.data.Enum';
  return {
    // Debezium makes an enum array's elements required.
    schema: required('array', { items: isEnum ? element.schema : optional(element.schema) }),
    convert: (value) => {
      const texts = parseArray(value);
      if (texts === null || (isEnum && texts.includes(null))) return null;
      return texts.map((one) => (one === null ? null : element.convert(one)));
    },
    zero: [],
    unavailable: unavailableArray(element, name, options),
  };
}

/** PostgreSQL's type to what stands for it: Debezium knows these arrays only. */
function unavailableArray(element: ValueMapper, name: string, options: DebeziumOptions): ConnectValue {
  const placeholder = options.unavailableValuePlaceholder;
  const bytes = [...Buffer.from(placeholder)];
  switch (name) {
    case 'text':
    case 'varchar':
    case 'bpchar':
    case 'json':
    case 'jsonb':
      return [placeholder];
    case 'bytea':
      return element.schema.type === 'bytes' ? [Buffer.from(placeholder)] : [placeholder];
    case 'int4':
    case 'date':
      return element.schema.type === 'int32' ? bytes : null;
    case 'int8':
      return bytes.map(BigInt);
    case 'uuid':
      return [nameUuid(placeholder)];
    default:
      return null;
  }
}

/** Java's UUID.nameUUIDFromBytes: version 3, of the bytes alone. */
export function nameUuid(from: string): string {
  const hash = createHash('md5').update(from).digest();
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x30, 6);
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8);
  return hash.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function bytesOf(value: string): Buffer {
  return Buffer.from(value.slice(2), 'hex');
}

/** Well-known binary: little-endian, type 1, x, y. */
function pointOf(x: number, y: number): ConnectValue {
  const wkb = Buffer.alloc(21);
  wkb.writeUInt8(1, 0);
  wkb.writeUInt32LE(1, 1);
  wkb.writeDoubleLE(x, 5);
  wkb.writeDoubleLE(y, 13);
  return [x, y, wkb, null];
}
