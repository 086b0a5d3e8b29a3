import { expect, test } from 'vitest';
import { mapperOf } from '#core/debezium/type-map.ts';
import { Placeholder } from './placeholder.ts';
import type { WireValue } from './wire-value.ts';

const TEXT = '__debezium_unavailable_value';

test('every form that a type gives the placeholder is known', () => {
  const placeholder = new Placeholder(TEXT);
  const forms: WireValue[] = [TEXT, Buffer.from(TEXT), [TEXT], [Buffer.from(TEXT)], [...Buffer.from(TEXT)].map(BigInt)];
  forms.push(new Map([[TEXT, TEXT]]), `{"${TEXT}":"${TEXT}"}`, Buffer.from(TEXT).toString('base64'));
  for (const form of forms)
    expect(
      placeholder.is(form),
      JSON.stringify(form, (_, one: unknown) => String(one)),
    ).toBe(true);
  const uuids = mapperOf(
    { name: 'uuid', isArray: true, modifiers: [], labels: null },
    {
      format: 'json',
      schemasEnable: true,
      decimalHandlingMode: 'precise',
      timePrecisionMode: 'adaptive',
      intervalHandlingMode: 'numeric',
      binaryHandlingMode: 'bytes',
      hstoreHandlingMode: 'json',
      tombstonesOnDelete: true,
      provideTransactionMetadata: false,
      unavailableValuePlaceholder: TEXT,
      skippedOperations: 't',
      extendedHeadersEnabled: false,
      heartbeatIntervalMs: 0,
    },
  )?.unavailable;
  expect(placeholder.is(uuids as WireValue)).toBe(true);
});

test('other values are values', () => {
  const placeholder = new Placeholder(TEXT);
  const values: WireValue[] = [
    '',
    `${TEXT} `,
    Buffer.alloc(0),
    [],
    [TEXT, TEXT],
    [null],
    [1n],
    new Map([[TEXT, 'x']]),
    null,
    5n,
  ];
  for (const value of values) expect(placeholder.is(value)).toBe(false);
});

test('bytes behind hex: are the placeholder itself', () => {
  expect(new Placeholder('hex:00ff').is(Buffer.from([0, 255]))).toBe(true);
  expect(new Placeholder('hex:00ff').is('hex:00ff')).toBe(false);
});
