import { expect, test } from 'vitest';
import type { ColumnForm } from './column-text.ts';
import { lossesOf, lossOf } from './mode-losses.ts';
import type { SourceOptions } from './options.ts';
import type { WireSchema } from './wire-value.ts';

const OPTIONS: SourceOptions = {
  decimalHandlingMode: null,
  timePrecisionMode: null,
  binaryHandlingMode: 'bytes',
  unavailableValuePlaceholder: '__debezium_unavailable_value',
};

function form(type: string, modifiers: readonly number[] = [], isArray = false): ColumnForm {
  return { type, modifiers, labels: null, isArray };
}

function schema(type: WireSchema['type'], name = '', items: WireSchema | null = null): WireSchema {
  return { type, name, parameters: new Map(), fields: new Map(), items };
}

test.each([
  ['a double', form('numeric', [10, 2]), schema('double'), 'about 15 digits'],
  ['money as a double', form('money'), schema('double'), 'about 15 digits'],
  ['an array of doubles', form('numeric', [], true), schema('array', '', schema('double')), 'about 15 digits'],
  ['no scale', form('numeric'), schema('struct', 'io.debezium.data.VariableScaleDecimal'), 'trailing zeros'],
  ['Connect', form('timestamp'), schema('int64', 'org.apache.kafka.connect.data.Timestamp'), 'milliseconds'],
  ['Connect, time(6)', form('time', [6]), schema('int32', 'org.apache.kafka.connect.data.Time'), 'milliseconds'],
  ['nanoseconds', form('timestamp'), schema('int64', 'io.debezium.time.NanoTimestamp'), '1677'],
  ['months', form('interval'), schema('int64', 'io.debezium.time.MicroDuration'), '30.4375'],
])('%s loses', (_what, column, sent, says) => {
  expect(lossOf(column, sent, OPTIONS)).toContain(says);
});

test.each([
  ['text', form('numeric'), schema('string')],
  ['decimal', form('numeric', [10, 2]), schema('bytes', 'org.apache.kafka.connect.data.Decimal')],
  ['three digits', form('timestamp', [3]), schema('int64', 'org.apache.kafka.connect.data.Timestamp')],
  ['microseconds', form('timestamp'), schema('int64', 'io.debezium.time.MicroTimestamp')],
  ['nanoseconds of a day', form('time'), schema('int64', 'io.debezium.time.NanoTime')],
  ['ISO', form('interval'), schema('string', 'io.debezium.time.Interval')],
  ['a float of its own', form('float8'), schema('double')],
])('%s keeps', (_what, column, sent) => {
  expect(lossOf(column, sent, OPTIONS)).toBeNull();
});

test('without schemas the options say it', () => {
  const columns = new Map([
    ['n', form('numeric', [10, 2])],
    ['at', form('timestamp')],
    ['id', form('int4')],
  ]);
  const row = { values: new Map([...columns.keys()].map((name) => [name, null])), schema: null };
  const table = { table: { schema: 'public', table: 't' }, columns, generated: new Set<string>() };
  const lossy = { ...OPTIONS, decimalHandlingMode: 'double', timePrecisionMode: 'connect' } as const;
  expect([...lossesOf(row, table, lossy).values()]).toEqual([['n'], ['at']]);
  const kept = { ...OPTIONS, decimalHandlingMode: 'string', timePrecisionMode: 'adaptive' } as const;
  expect([...lossesOf(row, table, kept)]).toEqual([]);
});
