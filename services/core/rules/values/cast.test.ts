import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileCast } from '#core/rules/values/cast.ts';
import { parseValueType } from '#core/rules/values/value-types.ts';

describe('compileCast', () => {
  it.each([
    ['int8', 'int4', '2147483648', 'out_of_range'],
    ['numeric', 'int2', '32767.5', 'out_of_range'],
    ['numeric', 'int4', 'NaN', 'not_finite'],
    ['numeric', 'numeric(4,2)', '99.995', 'out_of_range'],
    ['float8', 'float4', '1e+300', 'out_of_range'],
    ['text', 'varchar(3)', 'abcd', 'too_long'],
    ['text', 'char(3)', 'abc d', 'too_long'],
    ['text', 'uuid', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'invalid_text'],
    ['text', 'date', '2023-02-29', 'out_of_range'],
    ['text', 'timestamp', '2023-02-28 10:00:00+02', 'invalid_text'],
    ['text', 'timestamptz', '2023-02-28 10:00:00.1234567', 'out_of_range'],
    ['text', 'jsonb', '{"a": "\\u0000"}', 'invalid_text'],
    ['text', 'int4[]', '{1,2', 'invalid_text'],
    ['text[]', 'int4[]', '{1,x}', 'invalid_text'],
  ])('fails for a %s that is no %s', (from, to, text, reason) => {
    expect(() => cast(from, to)(text)).toThrow(
      expect.toSatisfy(
        (error: { code: string; reason: string; message: string }) =>
          error.code === 'rule_failed' && error.reason === reason && !error.message.includes(text),
      ),
    );
  });

  it.each([
    ['text', 'varchar(3)', 'abc  ', 'abc'],
    ['varchar(2)', 'char(4)', '🐘x', '🐘x  '],
    ['char(4)', 'text', 'x   ', 'x'],
    ['timestamptz', 'timestamp(0)', '2024-01-01 00:00:00.5+00', '2024-01-01 00:00:01'],
    ['jsonb', 'json', '{"a": 1.50}', '{"a": 1.50}'],
    ['json', 'jsonb', '{"bb":1e2,"a":"\\/","a":1.50}', '{"a": 1.50, "bb": 100}'],
    ['int4[]', 'text[]', '[2:3]={1,NULL}', '[2:3]={1,NULL}'],
    ['text', 'text[]', '{{a,"b c"},{"NULL",null}}', '{{a,"b c"},{"NULL",NULL}}'],
    ['bool', 'text', 't', 'true'],
    ['text', 'timestamptz', '2024-01-01T01:00:00+02:00', '2023-12-31 23:00:00+00'],
    ['text', 'timestamp', '0044-03-15 00:00:00 BC', '0044-03-15 00:00:00 BC'],
  ])('%s as %s', (from, to, text, expected) => {
    expect(cast(from, to)(text)).toBe(expected);
    expect(cast(from, to)(null)).toBeNull();
  });

  it.each([
    ['jsonb', 'int4'],
    ['uuid', 'int8'],
    ['date', 'bool'],
    ['int4', 'date'],
    ['int4[]', 'int4'],
    ['int4', 'int4[]'],
    ['timestamptz', 'numeric'],
  ])('refuses %s as %s', (from, to) => {
    expect(() => cast(from, to)).toThrow(expect.objectContaining({ code: 'rule_invalid', where: 'here' }));
  });

  it('comes back from a wider type as it was', () => {
    const [out, back] = [cast('int8', 'numeric(20,1)'), cast('numeric(20,1)', 'int8')];
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
        return back(out(String(value))) === String(value);
      }),
    );
    const [toText, toArray] = [cast('text[]', 'text'), cast('text', 'text[]')];
    fc.assert(
      fc.property(fc.array(fc.option(fc.string({ unit: 'grapheme' }))), (items) => {
        const text = `{${items.map((item) => (item === null ? 'NULL' : `"${item.replaceAll(/["\\]/g, String.raw`\$&`)}"`)).join(',')}}`;
        const canonical = toArray(toText(text));
        return toArray(canonical) === canonical;
      }),
    );
  });
});

function cast(from: string, to: string): (text: string | null) => string | null {
  return compileCast(parseValueType(from, 'here'), parseValueType(to, 'here'), 'here');
}
