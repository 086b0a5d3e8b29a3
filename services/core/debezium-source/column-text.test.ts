import { expect, test } from 'vitest';
import { avroConverter } from '#core/debezium/avro-converter.ts';
import { avroSchema } from '#core/debezium/avro-schema.ts';
import { optional } from '#core/debezium/connect-schema.ts';
import { jsonConverter } from '#core/debezium/json-converter.ts';
import type { DebeziumOptions } from '#core/debezium/options.ts';
import { mapperOf } from '#core/debezium/type-map.ts';
import { AvroReader } from './avro-reader.ts';
import { columnText, type ColumnForm } from './column-text.ts';
import { JsonReader } from './json-reader.ts';
import { Digits, type WireDatum, type WireValue } from './wire-value.ts';

const DEFAULTS: DebeziumOptions = {
  format: 'json',
  schemasEnable: true,
  decimalHandlingMode: 'precise',
  timePrecisionMode: 'adaptive',
  intervalHandlingMode: 'string',
  binaryHandlingMode: 'bytes',
  hstoreHandlingMode: 'json',
  tombstonesOnDelete: true,
  provideTransactionMetadata: false,
  unavailableValuePlaceholder: '__debezium_unavailable_value',
  skippedOperations: 't',
  extendedHeadersEnabled: false,
  heartbeatIntervalMs: 0,
};
const MODES: readonly Partial<DebeziumOptions>[] = [
  {},
  {
    decimalHandlingMode: 'string',
    timePrecisionMode: 'isostring',
    binaryHandlingMode: 'hex',
    hstoreHandlingMode: 'map',
  },
  { timePrecisionMode: 'microseconds', binaryHandlingMode: 'base64' },
  { timePrecisionMode: 'adaptive_time_microseconds', binaryHandlingMode: 'base64-url-safe' },
];

/** PostgreSQL's texts, which come back as they were in every mode. */
const KEPT: readonly (readonly [type: string, modifiers: readonly number[], texts: readonly string[]])[] = [
  ['bool', [], ['t', 'f']],
  ['bit', [1], ['1', '0']],
  ['bit', [5], ['00101', '00000']],
  ['bit', [70], ['01'.repeat(35)]],
  ['varbit', [], ['1', '10000000001']],
  ['int2', [], ['-32768']],
  ['int8', [], ['9223372036854775807', '-9223372036854775808', '9007199254740993']],
  ['oid', [], ['4294967295']],
  ['float8', [], ['0.30000000000000004', 'NaN', 'Infinity', '-Infinity']],
  ['numeric', [38, 10], ['-1234567890123456789012345678.0123456789', '0.0000000001', '0.0000000000']],
  ['numeric', [10, 2], ['-0.01', '99999999.99', '0.00']],
  ['numeric', [], ['1.5', '-12345678901234567890.123', '0', '1000']],
  ['text', [], ['', 'tab\t"quoted" \\ 😀']],
  ['json', [], [' { "b" : 1.0, "b": 2 }']],
  ['bytea', [], ['\\x00ff10fbfe', '\\x']],
  [
    'date',
    [],
    ['1970-01-01', '0044-03-15 BC', '0001-12-31 BC', '12000-01-02', 'infinity', '-infinity', '5874897-12-31'],
  ],
  ['time', [], ['23:59:59.999999', '00:00:00']],
  ['time', [0], ['23:59:59']],
  [
    'timestamp',
    [],
    [
      '1999-12-31 23:59:59.999999',
      '1969-12-31 23:59:59.5',
      '0044-03-15 01:02:03 BC',
      '12000-01-02 00:00:00',
      'infinity',
      '-infinity',
    ],
  ],
  ['timestamp', [3], ['2000-01-01 00:00:00.123', 'infinity', '-infinity', '0100-01-01 00:00:00']],
  ['hstore', [], ['"a"=>"1", "b \\"c"=>NULL', '']],
  ['uuid', [], ['00000000-0000-0000-0000-00000000000f']],
  ['int4range', [], ['[1,5)', 'empty']],
  ['point', [], ['(1.5,-2)', '(0,0)']],
  ['mood', [], ['so so']],
];

function check(
  type: string,
  modifiers: readonly number[],
  isArray: boolean,
  texts: readonly string[],
  given: Partial<DebeziumOptions>,
): void {
  const options = { ...DEFAULTS, ...given };
  const labels = type === 'mood' ? ['happy', 'so so'] : null;
  const mapper = mapperOf({ name: type, modifiers, isArray, labels }, options);
  if (mapper === null) return;
  const form: ColumnForm = { type, modifiers, isArray, labels };
  const schema = optional(mapper.schema);
  const [json, bare, avro] = [jsonConverter(schema, true), jsonConverter(schema, false), avroConverter(schema, 7)];
  const [jsonReader, bareReader, avroReader] = [
    new JsonReader(true),
    new JsonReader(false),
    new AvroReader(avroSchema(schema)),
  ];
  const back = ({ schema: wire, value }: WireDatum): string | null => columnText(form, wire, value, options);
  for (const text of texts) {
    const value = mapper.convert(text);
    expect(back(jsonReader.read(Buffer.from(json(value)))), `${type} ${text} in JSON`).toBe(text);
    expect(back(avroReader.read(avro(value))), `${type} ${text} in Avro`).toBe(text);
    expect(back(bareReader.read(Buffer.from(bare(value)))), `${type} ${text} without schema`).toBe(text);
  }
}

test.each(MODES)('what Debezium keeps comes back as PostgreSQL said it: %j', (given) => {
  for (const [type, modifiers, texts] of KEPT) check(type, modifiers, false, texts, given);
});

test('arrays come back with their NULLs and quotes', () => {
  check('text', [], true, ['{"",NULL,"NULL","a b","{}","\\"","\\\\"}', '{}'], {});
  check('int8', [], true, ['{"9007199254740993",NULL}'], {});
  check('bytea', [], true, ['{"\\\\x00ff",NULL}'], {});
  check('timestamp', [], true, ['{"1999-12-31 23:59:59.999999",NULL}'], {});
  check('hstore', [], true, ['{"\\"a\\"=>\\"1\\"",NULL}'], {});
});

test('24:00:00, durations and moments in nanoseconds', () => {
  const of = (type: string, name: string, value: bigint): string | null =>
    columnText(
      { type, modifiers: [], isArray: false, labels: null },
      { type: 'int64', name, parameters: new Map(), fields: new Map(), items: null },
      value,
      { ...DEFAULTS },
    );
  expect(of('time', 'io.debezium.time.MicroTime', 86_400_000_000n)).toBe('24:00:00');
  expect(of('interval', 'io.debezium.time.MicroDuration', -3_723_000_001n)).toBe('-1:02:03.000001');
  expect(of('timestamp', 'io.debezium.time.NanoTimestamp', -500_000_000n)).toBe('1969-12-31 23:59:59.5');
  expect(of('timestamp', 'io.debezium.time.NanoTimestamp', 9_223_372_036_854_775_807n)).toBe('infinity');
});

test('bytea as text needs the mode that no schema tells', () => {
  const form = { type: 'bytea', modifiers: [], isArray: false, labels: null };
  const schema = { type: 'string', name: '', parameters: new Map(), fields: new Map(), items: null } as const;
  expect(() => columnText(form, schema, 'AA==', { ...DEFAULTS })).toThrow('source.debezium.binary.handling.mode');
  expect(columnText(form, schema, '-_8=', { ...DEFAULTS, binaryHandlingMode: 'base64-url-safe' })).toBe('\\xfbff');
});

test('geometry, vectors and structs of extensions', () => {
  const schema = { type: 'struct', name: '', parameters: new Map(), fields: new Map(), items: null } as const;
  const of = (type: string, value: WireValue): string | null =>
    columnText({ type, modifiers: [], isArray: false, labels: null }, schema, value, { ...DEFAULTS });
  const wkb = Buffer.from('0101000000000000000000f83f00000000000000c0', 'hex');
  const ewkb = Buffer.from('0101000020e6100000000000000000f83f00000000000000c0', 'hex');
  expect(
    of(
      'geometry',
      new Map<string, WireValue>([
        ['wkb', wkb],
        ['srid', 4326n],
      ]),
    ),
  ).toBe(`SRID=4326;${wkb.toString('hex').toUpperCase()}`);
  expect(
    of(
      'geometry',
      new Map<string, WireValue>([
        ['wkb', ewkb],
        ['srid', 4326n],
      ]),
    ),
  ).toBe(ewkb.toString('hex').toUpperCase());
  expect(of('vector', [1, 2.5, new Digits('0.1')])).toBe('[1,2.5,0.1]');
  const vector = new Map<string, WireValue>([
    ['1', 0.5],
    ['3', 2],
  ]);
  expect(
    of(
      'sparsevec',
      new Map<string, WireValue>([
        ['dimensions', 5n],
        ['vector', vector],
      ]),
    ),
  ).toBe('{1:0.5,3:2}/5');
  expect(
    of(
      'sparsevec',
      new Map<string, WireValue>([
        ['dimensions', 5n],
        ['vector', [[1n, 0.5]]],
      ]),
    ),
  ).toBe('{1:0.5}/5');
  const decimal = (scale: bigint): string | null =>
    of(
      'numeric',
      new Map<string, WireValue>([
        ['scale', scale],
        ['value', Buffer.from([5])],
      ]),
    );
  expect([decimal(2n), decimal(-2n), decimal(0n)]).toEqual(['0.05', '500', '5']);
  expect(() => decimal(-2_000_000_000n)).toThrow('a scale that numeric does not have');
  expect(() => of('int4', new Map([['a', 1n]]))).toThrow('a struct does not go into a column of type int4');
});
