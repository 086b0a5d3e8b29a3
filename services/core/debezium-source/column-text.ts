import { mapperOf } from '#core/debezium/type-map.ts';
import type { ConnectSchema } from '#core/debezium/connect-schema.ts';
import type { ColumnStructure } from '#core/structure.ts';
import type { SourceOptions } from './options.ts';
import { parseExactJson } from './exact-json.ts';
import { COUNTS, MOMENTS } from './time-text.ts';
import { Digits, entriesOf, integerOf, listOf, type WireSchema, type WireValue } from './wire-value.ts';

/** What of a target's column decides how a value is written. */
export interface ColumnForm {
  /** pg_type.typname, a domain's base type's, an array's element's. */
  readonly type: string;
  readonly modifiers: readonly number[];
  readonly labels: readonly string[] | null;
  readonly isArray: boolean;
}

export function formOf(column: ColumnStructure): ColumnForm {
  const { base } = column;
  return {
    type: base?.name ?? column.element?.name ?? column.typeName,
    modifiers: (base?.modifiers ?? column.modifiers).split(',').flatMap((one) => (one === '' ? [] : [Number(one)])),
    labels: base?.labels ?? column.enumLabels,
    isArray: base === undefined && column.element !== undefined,
  };
}

/** A value has a form that its column cannot be told from. Without the value (invariant 8). */
export class ValueFault extends Error {
  override readonly name = 'ValueFault';
}

/**
 * A value of an event as the text that PostgreSQL reads into the column; null is NULL. `schema` null: the record carries none, and the
 * column's type and the options say what Debezium made of it. @throws ValueFault.
 */
export function columnText(
  form: ColumnForm,
  schema: WireSchema | null,
  value: WireValue,
  options: SourceOptions,
): string | null {
  if (value === null) return null;
  return write(form, arrivingSchema(form, schema, options), value, options);
}

/** The record's own, or what the options say of a column of this type. */
export function arrivingSchema(form: ColumnForm, schema: WireSchema | null, options: SourceOptions): WireSchema {
  return schema ?? impliedSchema(form, options);
}

/** Types whose values mean something else in each mode, and the mode's option. */
const AMBIGUOUS: Readonly<Record<string, 'decimalHandlingMode' | 'timePrecisionMode'>> = {
  numeric: 'decimalHandlingMode',
  money: 'decimalHandlingMode',
  date: 'timePrecisionMode',
  time: 'timePrecisionMode',
  timestamp: 'timePrecisionMode',
};
const OPTION_NAMES = {
  decimalHandlingMode: 'decimal.handling.mode',
  timePrecisionMode: 'time.precision.mode',
} as const;

/** Without schemas: the option that must be given before a column of this type can be read; null where none is missing. */
export function missingOption({ type }: ColumnForm, options: SourceOptions): string | null {
  const option = Object.hasOwn(AMBIGUOUS, type) ? AMBIGUOUS[type] : undefined;
  return option === undefined || options[option] !== null ? null : OPTION_NAMES[option];
}

function impliedSchema(form: ColumnForm, options: SourceOptions): WireSchema {
  const type = { name: form.type, isArray: form.isArray, modifiers: form.modifiers, labels: form.labels };
  const mapper = mapperOf(type, {
    format: 'json',
    schemasEnable: false,
    decimalHandlingMode: options.decimalHandlingMode ?? 'precise',
    timePrecisionMode: options.timePrecisionMode ?? 'adaptive',
    intervalHandlingMode: 'numeric',
    binaryHandlingMode: options.binaryHandlingMode,
    hstoreHandlingMode: 'json',
    tombstonesOnDelete: true,
    provideTransactionMetadata: false,
    unavailableValuePlaceholder: options.unavailableValuePlaceholder,
    skippedOperations: 'none',
    extendedHeadersEnabled: false,
    heartbeatIntervalMs: 0,
  });
  return mapper === null ? TEXT : fromConnect(mapper.schema);
}

const TEXT: WireSchema = { type: 'string', name: '', parameters: new Map(), fields: new Map(), items: null };

function fromConnect(schema: ConnectSchema): WireSchema {
  return {
    type: schema.type,
    name: schema.name ?? '',
    parameters: new Map(Object.entries(schema.parameters ?? {})),
    fields: new Map((schema.fields ?? []).map((field) => [field.name, fromConnect(field.schema)])),
    items: schema.items === undefined ? null : fromConnect(schema.items),
  };
}

function write(form: ColumnForm, schema: WireSchema, value: WireValue, options: SourceOptions): string {
  const list = listOf(value);
  if (list !== null) return writeList(form, schema, list, options);
  if (typeof value === 'boolean') return isBits(form.type) ? (value ? '1' : '0') : value ? 't' : 'f';
  if (typeof value === 'bigint') return COUNTS.get(schema.name)?.(value) ?? String(value);
  if (value instanceof Digits) return value.text;
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value);
  const entries = entriesOf(value);
  if (entries !== null) return writeEntries(form, schema, entries);
  if (Buffer.isBuffer(value)) return writeBytes(form, schema, value);
  if (typeof value !== 'string') throw new ValueFault('a value of no known form');
  if (schema.type === 'bytes') return writeBytes(form, schema, Buffer.from(value, 'base64'));
  if (form.type === 'bytea') return binaryText(value, options);
  if (form.type === 'hstore') return hstoreText(hstoreOf(value));
  return MOMENTS.get(schema.name)?.(value) ?? value;
}

function isBits(type: string): boolean {
  return type === 'bit' || type === 'varbit';
}

function writeBytes({ type, modifiers }: ColumnForm, schema: WireSchema, bytes: Buffer): string {
  if (schema.name === 'org.apache.kafka.connect.data.Decimal')
    return decimalText(integerFrom(bytes), Number(schema.parameters.get('scale') ?? 0));
  if (schema.name === 'io.debezium.data.Bits') return bitsText(type, modifiers[0], bytes);
  if (type === 'bytea') return `\\x${bytes.toString('hex')}`;
  return bytes.toString('utf8');
}

function binaryText(text: string, { binaryHandlingMode: mode }: SourceOptions): string {
  if (mode === 'hex') return `\\x${text}`;
  if (mode === 'bytes') throw new ValueFault('bytea comes as text: say how with source.debezium.binary.handling.mode');
  return `\\x${Buffer.from(text, mode === 'base64' ? 'base64' : 'base64url').toString('hex')}`;
}

/** Big-endian two's complement. */
function integerFrom(bytes: Buffer): bigint {
  if (bytes.length === 0) return 0n;
  return BigInt.asIntN(bytes.length * 8, BigInt(`0x${bytes.toString('hex')}`));
}

/** Digits that PostgreSQL's numeric has at most before and behind the point, and room for all that Java makes of it. */
const MOST_DIGITS = 150_000;

function decimalText(unscaled: bigint, scale: number): string {
  if (!(Math.abs(scale) <= MOST_DIGITS)) throw new ValueFault('a decimal of a scale that numeric does not have');
  if (scale <= 0) return String(unscaled * 10n ** BigInt(-scale));
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0');
  return `${unscaled < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

/** Little-endian bytes without the leading zeros, which a bit(n) gets back and a varbit does not. */
function bitsText(type: string, length: number | undefined, bytes: Buffer): string {
  const hex = Buffer.from(bytes.toReversed()).toString('hex');
  const digits = hex === '' ? '' : BigInt(`0x${hex}`).toString(2);
  const significant = digits === '0' ? '' : digits;
  return type === 'bit' ? significant.padStart(length ?? 1, '0') : significant;
}

function writeEntries({ type }: ColumnForm, schema: WireSchema, entries: ReadonlyMap<string, WireValue>): string {
  if (type === 'hstore')
    return hstoreText(new Map([...entries].map(([key, one]) => [key, typeof one === 'string' ? one : null])));
  if (type === 'json' || type === 'jsonb') return JSON.stringify(Object.fromEntries(entries));
  if (entries.has('scale') && entries.has('value')) return variableDecimal(entries);
  if (schema.name.endsWith('.SparseVector') || entries.has('dimensions')) return sparseVector(entries);
  if (type === 'point') return `(${plain(entries.get('x'))},${plain(entries.get('y'))})`;
  const wkb = entries.get('wkb');
  if (wkb !== undefined) return geometryText(bytesOf(wkb), integerOf(entries.get('srid')));
  throw new ValueFault(
    `a struct ${schema.name === '' ? '' : `${schema.name} `}does not go into a column of type ${type}`,
  );
}

function variableDecimal(entries: ReadonlyMap<string, WireValue>): string {
  const scale = integerOf(entries.get('scale'));
  const value = entries.get('value');
  if (scale === null || value === undefined) throw new ValueFault('a decimal without scale or value');
  return decimalText(integerFrom(bytesOf(value)), Number(scale));
}

function bytesOf(value: WireValue): Buffer {
  if (Buffer.isBuffer(value)) return value;
  if (typeof value === 'string') return Buffer.from(value, 'base64');
  throw new ValueFault('bytes that are none');
}

function plain(value: WireValue | undefined): string {
  if (value instanceof Digits) return value.text;
  return typeof value === 'number' || typeof value === 'bigint' || typeof value === 'string' ? String(value) : 'NaN';
}

const EWKB_SRID = 0x20_00_00_00;

/** PostGIS reads well-known binary in hex, with the SRID before it where the bytes do not have one (PostGIS: "Geometry Input"). */
function geometryText(wkb: Buffer, srid: bigint | null): string {
  const kind = wkb.length < 5 ? 0 : wkb[0] === 1 ? wkb.readUInt32LE(1) : wkb.readUInt32BE(1);
  const hex = wkb.toString('hex').toUpperCase();
  return srid === null || (kind & EWKB_SRID) !== 0 ? hex : `SRID=${srid};${hex}`;
}

/** pgvector's `{1:0.5,3:2}/5`. Connect writes a map whose keys are no strings as pairs. */
function sparseVector(entries: ReadonlyMap<string, WireValue>): string {
  const vector = entries.get('vector');
  const pairs: (readonly [WireValue | undefined, WireValue | undefined])[] =
    entriesOf(vector) === null
      ? (listOf(vector) ?? []).map((pair) => {
          const items = listOf(pair);
          return items === null ? [entriesOf(pair)?.get('key'), entriesOf(pair)?.get('value')] : [items[0], items[1]];
        })
      : [...(entriesOf(vector) ?? [])];
  return `{${pairs.map(([index, one]) => `${plain(index)}:${plain(one)}`).join(',')}}/${plain(entries.get('dimensions'))}`;
}

function writeList(form: ColumnForm, schema: WireSchema, list: readonly WireValue[], options: SourceOptions): string {
  const items = schema.items ?? TEXT;
  if (!form.isArray && (form.type === 'vector' || form.type === 'halfvec'))
    return `[${list.map((item) => plain(item)).join(',')}]`;
  const element: ColumnForm = { ...form, isArray: false };
  const texts = list.map((item) => (item === null ? 'NULL' : quoteElement(write(element, items, item, options))));
  return `{${texts.join(',')}}`;
}

/** PostgreSQL: "Array Input and Output Syntax". */
function quoteElement(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

function hstoreOf(text: string): ReadonlyMap<string, string | null> {
  let json: unknown;
  try {
    json = parseExactJson(text);
  } catch {
    throw new ValueFault('an hstore that is no JSON object');
  }
  if (!(json instanceof Map)) throw new ValueFault('an hstore that is no JSON object');
  return new Map([...json].map(([key, one]: [string, unknown]) => [key, typeof one === 'string' ? one : null]));
}

function hstoreText(pairs: ReadonlyMap<string, string | null>): string {
  return [...pairs]
    .map(([key, one]) => `${quoteElement(key)}=>${one === null ? 'NULL' : quoteElement(one)}`)
    .join(', ');
}
