import { afterAll, beforeAll, expect, test } from 'vitest';
import { compileCast } from '#core/rules/values/cast.ts';
import { compileExpression } from '#core/rules/values/expression.ts';
import { parseValueType } from '#core/rules/values/value-types.ts';
import type { ColumnStructure } from '#core/structure.ts';
import { createDatabase, type TestDatabase } from '../harness/database.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase(15, 'casts');
  await database.client.query("SET TimeZone = 'UTC'; SET extra_float_digits = 3; SET DateStyle = 'ISO'");
});

afterAll(() => database[Symbol.asyncDispose]());

const FLOATS = [
  '0',
  '-0',
  '0.1',
  '1e+15',
  '123456789012345',
  '1e-05',
  '0.5',
  '1.5',
  '2.5',
  '-2.5',
  '16777217',
  '3.4028235e+38',
];
const POWERS = Array.from({ length: 250 }, (_, at) => String(2 ** (at - 125)));
const NUMBERS = ['0', '-1.5', '2.5', '0.005', '12345.678', '-0.0049', '32767.4', '1e10', '0.00001234'];
const CASTS: readonly (readonly [from: string, to: string, values: readonly string[]])[] = [
  ['numeric', 'int8', NUMBERS],
  ['numeric', 'numeric(13,2)', NUMBERS],
  ['numeric', 'numeric(12,-2)', NUMBERS],
  ['numeric', 'float4', [...NUMBERS, '16777217.0000001', '16777217']],
  ['numeric', 'float8', NUMBERS],
  ['float8', 'float4', [...FLOATS, ...POWERS]],
  ['float4', 'float8', ['0.1', '16777216', '1e-30']],
  ['float8', 'numeric', FLOATS],
  ['float8', 'int8', ['0.5', '1.5', '2.5', '-2.5', '1e15']],
  ['float8', 'text', FLOATS],
  ['float4', 'text', POWERS],
  ['text', 'bool', ['t', 'yes', 'OFF', '0', ' on ', 'fal']],
  ['text', 'date', ['2024-02-29', '0044-03-15 BC', 'infinity', '5874897-12-31']],
  [
    'text',
    'timestamptz',
    ['2024-01-01 01:00+02', '2024-01-01T00:00:00.123456Z', '-infinity', '0001-01-01 00:00:00 BC'],
  ],
  ['text', 'timestamp(3)', ['2024-01-01 00:00:00.0005', '1999-12-31 23:59:59.9995', '1999-12-31 23:59:59.9985']],
  ['timestamptz', 'date', ['1969-12-31 23:59:59+00', '2024-06-01 12:00:00+00']],
  ['text', 'time', ['23:59:59.5', '24:00:00', '00:00']],
  ['text', 'uuid', ['{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}', 'a0eebc999c0b4ef8bb6d6bb9bd380a11']],
  ['text', 'jsonb', ['{"bb":1e2,"a":[1.50,"\\u00e9\\n"],"a":null}', '-0', '"\\/"', '1.0E1']],
  ['text', 'bytea', ['\\xDEAD', 'a\\\\b\\001']],
  ['text', 'int4[]', ['{1,NULL,-3}', '[2:3]={4,5}', '{{1,2},{3,4}}', '{}']],
  ['text', 'text[]', ['{a,"b,c","","NULL",nUlL}', '{ x y , z }']],
  ['bool', 'text', ['t', 'f']],
];

test.each(CASTS)('%s as %s is what PostgreSQL gives', async (from, to, values) => {
  const cast = compileCast(parseValueType(from, ''), parseValueType(to, ''), '');
  // Record output takes the type's own output function, where a cast to text would write booleans in full.
  const { rows } = await database.client.query<{ input: string; output: string }>(
    `SELECT format('%s', v::${from}) AS input, format('%s', v::${from}::${to}) AS output FROM unnest($1::text[]) AS v`,
    [values],
  );
  expect(rows.map(({ input }) => [input, cast(input)])).toEqual(rows.map(({ input, output }) => [input, output]));
});

test('numeric divides as PostgreSQL does', async () => {
  const columns = ['a', 'b'].map((name): ColumnStructure => ({
    name,
    ...parseValueType('numeric', ''),
    notNull: false,
    generated: false,
    identity: '',
  }));
  const quotient = compileExpression('a / b', columns, { where: 'here' });
  const numbers = [
    '1',
    '-2',
    '3.00',
    '10000',
    '9999.9999',
    '0.0003',
    '123456789.123456789',
    '7e20',
    '0.00000000000000000001',
  ];
  const { rows } = await database.client.query<{ a: string; b: string; q: string }>(
    'SELECT a::text, b::text, (a / b)::text AS q FROM unnest($1::numeric[]) a, unnest($1::numeric[]) b',
    [numbers],
  );
  expect(
    rows.map(({ a, b }) =>
      quotient.evaluate(
        new Map([
          ['a', a],
          ['b', b],
        ]),
      ),
    ),
  ).toEqual(rows.map(({ q }) => q));
});
