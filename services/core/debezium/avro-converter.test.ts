import avsc from 'avsc';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { avroConverter } from './avro-converter.ts';
import { avroSchema } from './avro-schema.ts';
import { optional, required, type ConnectSchema, type ConnectValue } from './connect-schema.ts';

const FRAME_BYTES = 5;

/** As avsc reads it back, longs as numbers. */
function readBack(schema: ConnectSchema, value: ConnectValue): unknown {
  const datum = avroConverter(schema, 7)(value);
  expect(datum.subarray(0, FRAME_BYTES)).toEqual(Buffer.of(0, 0, 0, 0, 7));
  return avsc.Type.forSchema(JSON.parse(avroSchema(schema)) as avsc.Schema).fromBuffer(datum.subarray(FRAME_BYTES));
}

test('integers of every size come back', () => {
  const write = avroConverter(required('int64'), 7);
  fc.assert(
    fc.property(
      fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.bigInt({ min: -300n, max: 300n })),
      (value) => {
        expect(unzigzag(write(value).subarray(FRAME_BYTES))).toBe(value);
      },
    ),
  );
});

/** Avro: "Binary Encoding", int and long; avsc's own longs are exact up to 2^52 only. */
function unzigzag(bytes: Buffer): bigint {
  const raw = [...bytes].reduceRight((sum, byte) => (sum << 7n) | BigInt(byte & 127), 0n);
  return raw % 2n === 0n ? raw / 2n : -(raw + 1n) / 2n;
}

test('the ends of int64, byte by byte', () => {
  const write = avroConverter(required('int64'), 7);
  const ends = [2n ** 63n - 1n, -(2n ** 63n)].map((value) => write(value).subarray(FRAME_BYTES).toString('hex'));
  expect(ends).toEqual(['feffffffffffffffff01', 'ffffffffffffffffff01']);
});

test('a value may be longer than everything before it', () => {
  const long = 'é'.repeat(100_000);
  const write = avroConverter(required('string'), 7);
  write('short');
  expect(
    write(long)
      .subarray(FRAME_BYTES + 3)
      .toString(),
  ).toBe(long);
});

test('null stands behind where a default stands in front', () => {
  const fields = [
    { name: 'plain', schema: optional(required('string')) },
    { name: 'given', schema: optional(required('int32', { default: 5 })) },
    { name: 'all', schema: required('array', { items: optional(required('double')) }) },
    { name: 'map', schema: optional(required('map')) },
  ];
  const schema = required('struct', { name: 'a-b.c d', fields });
  expect(readBack(schema, [null, null, [1.5, null], null])).toEqual({
    plain: null,
    given: null,
    all: [1.5, null],
    map: null,
  });
  expect(readBack(schema, ['x', 6, [], new Map([['k', null]])])).toEqual({
    plain: 'x',
    given: 6,
    all: [],
    map: { k: null },
  });
});
