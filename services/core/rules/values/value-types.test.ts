import { describe, expect, it } from 'vitest';
import { arrayOf, elementOf, parseValueType, plainType } from '#core/rules/values/value-types.ts';

describe('parseValueType', () => {
  it.each([
    ['int', 'int4', '', 'integer'],
    ['BIGINT', 'int8', '', 'bigint'],
    ['numeric( 12 , 2 )', 'numeric', '12,2', 'numeric(12,2)'],
    ['decimal(5)', 'numeric', '5,0', 'numeric(5,0)'],
    ['numeric(3,-2)', 'numeric', '3,-2', 'numeric(3,-2)'],
    ['character  varying(20)', 'varchar', '20', 'character varying(20)'],
    ['char', 'bpchar', '1', 'character(1)'],
    ['bpchar', 'bpchar', '', 'bpchar'],
    ['float(24)', 'float4', '', 'real'],
    ['float', 'float8', '', 'double precision'],
    ['timestamptz(3)', 'timestamptz', '3', 'timestamp(3) with time zone'],
    ['timestamp with time zone', 'timestamptz', '', 'timestamp with time zone'],
    ['time (0) without time zone', 'time', '0', 'time(0) without time zone'],
    ['numeric(12,2)[]', '_numeric', '12,2', 'numeric(12,2)[]'],
    ['text[][3]', '_text', '', 'text[]'],
  ])('reads %s', (text, typeName, modifiers, type) => {
    expect(parseValueType(text, 'here')).toMatchObject({ typeSchema: 'pg_catalog', typeName, modifiers, type });
  });

  it.each([
    ['integr', 'did you mean integer?'],
    ['varchra(20)', 'did you mean varchar?'],
    ['public.colour', undefined],
    ['text(3)', undefined],
    ['varchar(0)', undefined],
    ['numeric(12,2', undefined],
    ['timestamp(9)', undefined],
  ])('refuses %s', (text, fix) => {
    expect(() => parseValueType(text, 'here')).toThrow(
      expect.objectContaining({ code: 'rule_invalid', where: 'here', ...(fix === undefined ? {} : { fix }) }),
    );
  });

  it('takes an array apart and together', () => {
    const type = parseValueType('numeric(12,2)', 'here');
    expect(elementOf(arrayOf(type))).toEqual(type);
    expect(elementOf(plainType('text'))).toBeNull();
    expect(elementOf(parseValueType('int4[]', 'here'))?.json).toBe('integer');
  });
});
