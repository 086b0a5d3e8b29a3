import { expect, test } from 'vitest';
import type { DebeziumOptions } from './options.ts';
import { mapperOf } from './type-map.ts';

const OPTIONS: DebeziumOptions = {
  format: 'json',
  schemasEnable: true,
  decimalHandlingMode: 'precise',
  timePrecisionMode: 'adaptive',
  intervalHandlingMode: 'numeric',
  binaryHandlingMode: 'bytes',
  hstoreHandlingMode: 'json',
  tombstonesOnDelete: true,
  provideTransactionMetadata: false,
  unavailableValuePlaceholder: 'gone',
  skippedOperations: 't',
  extendedHeadersEnabled: true,
  heartbeatIntervalMs: 0,
};

function convert(
  name: string,
  text: string,
  modifiers: readonly number[] = [],
  more: Partial<DebeziumOptions> = {},
): unknown {
  const type = { name: name.replace('[]', ''), isArray: name.endsWith('[]'), modifiers, labels: null };
  return mapperOf(type, { ...OPTIONS, ...more })?.convert(text);
}

test.each([
  ['0', '00'],
  ['127', '7f'],
  ['128', '0080'],
  ['-128', '80'],
  ['-129', 'ff7f'],
  ['255', '00ff'],
  ['-1', 'ff'],
  ['-12345678901234567890', 'ff54ab567314e0f52e'],
])('numeric %s is the two’s complement 0x%s', (text, hex) => {
  expect(convert('numeric', text, [30, 0])).toEqual(Buffer.from(hex, 'hex'));
});

test('numeric without scale keeps its own, without trailing zeros', () => {
  expect(convert('numeric', '1.50')).toEqual([1, Buffer.of(15)]);
  expect(convert('numeric', '1000')).toEqual([0, Buffer.of(0x03, 0xe8)]);
  expect(convert('numeric', '0.00')).toEqual([0, Buffer.of(0)]);
});

test('a negative scale counts in its own unit', () => {
  expect(convert('numeric', '123500', [5, -2])).toEqual(Buffer.of(0x04, 0xd3));
});

test('NaN has a form only where decimals are text or double', () => {
  expect(convert('numeric', 'NaN', [10, 2])).toBeNull();
  expect(convert('numeric', 'NaN', [10, 2], { decimalHandlingMode: 'string' })).toBe('NaN');
  expect(convert('numeric', 'NaN', [10, 2], { decimalHandlingMode: 'double' })).toBeNaN();
});

test('dates before Christ, far years and the infinities', () => {
  expect(convert('date', '0001-12-31 BC')).toBe(-719_163);
  expect(convert('date', '10000-01-01')).toBe(2_932_897);
  expect(convert('date', '0044-03-15 BC', [], { timePrecisionMode: 'isostring' })).toBe('-0043-03-15Z');
  expect(convert('timestamptz', '0044-03-15 12:00:00+00 BC')).toBe('-0043-03-15T12:00:00.000000Z');
  expect(convert('timestamptz', '12345-01-01 00:00:00+00', [0])).toBe('+12345-01-01T00:00:00Z');
  expect(convert('timestamp', '-infinity')).toBe(-9_223_372_036_832_400_000n);
  expect(convert('timestamp', '-infinity', [3])).toBe(-9_223_372_036_832_400n);
});

test('nanoseconds end in 2262', () => {
  const nanos = { timePrecisionMode: 'nanoseconds' } as const;
  expect(convert('timestamp', '2262-04-11 23:47:16.854775', [], nanos)).toBe(9_223_372_036_854_775_000n);
  expect(convert('timestamp', '2262-04-11 23:47:16.854776', [], nanos)).toBeNull();
});

test('times at the ends of the day, and with zones on either side of it', () => {
  expect(convert('time', '24:00:00')).toBe(86_400_000_000n);
  expect(convert('timetz', '00:30:00+05:45')).toBe('18:45:00Z');
  expect(convert('timetz', '23:00:00-03:30:15')).toBe('02:30:15Z');
});

test('an interval keeps the sign of each part', () => {
  const text = { intervalHandlingMode: 'string' } as const;
  expect(convert('interval', '-1 years -2 mons +3 days -04:05:06.7', [], text)).toBe('P-1Y-2M3DT-4H-5M-6.7S');
  expect(convert('interval', '178956970 years 7 mons')).toBe(2_147_483_647n * 2_629_800_000_000n);
  expect(convert('interval', 'infinity')).toBeNull();
});

test('arrays: quotes, nulls and bounds; more dimensions have no form', () => {
  expect(convert('text[]', '[2:4]={a,NULL,"NULL"}')).toEqual(['a', null, 'NULL']);
  expect(convert('text[]', String.raw`{"a\"b\\",c\,d}`)).toEqual(['a"b\\', 'c,d']);
  expect(convert('int4[]', '{{1},{2}}')).toBeNull();
  expect(convert('int4[]', '{}')).toEqual([]);
});

test('hstore keeps NULL apart from the text', () => {
  expect(convert('hstore', String.raw`"a\"b"=>"1", "n"=>NULL, "t"=>"NULL"`, [], { hstoreHandlingMode: 'map' })).toEqual(
    new Map([
      ['a"b', '1'],
      ['n', null],
      ['t', 'NULL'],
    ]),
  );
});

test('bits are little-endian and as few bytes as hold them', () => {
  expect(convert('varbit', '0000000100000001', [16])).toEqual(Buffer.of(1, 1));
  expect(convert('varbit', '', [16])).toEqual(Buffer.alloc(0));
  expect(convert('bit', '1', [1])).toBe(true);
});

test('types that Debezium leaves out', () => {
  for (const name of ['box', 'pg_lsn', 'tsquery', 'money[]', 'interval[]']) expect(convert(name, '')).toBeUndefined();
});
