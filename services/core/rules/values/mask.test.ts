import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { alphabetOf } from '#core/rules/values/alphabets.ts';
import type { MaskSpec } from '#core/rules/values/mask-types.ts';
import { compileMask } from '#core/rules/values/mask.ts';
import { parseValueType } from '#core/rules/values/value-types.ts';
import type { ColumnStructure } from '#core/structure.ts';

const keys = new Map([
  ['k1', 'a secret of thirty-two characters'],
  ['k2', 'another secret of as many letters'],
  ['weak', 'feeble'],
]);
const hmac: MaskSpec = { method: 'hmac', key: 'k1', output: null };
const format: MaskSpec = { method: 'format', key: 'k1' };
const partial = (keepFirst: number, keepLast: number, keepDomain = false): MaskSpec => ({
  method: 'partial',
  keepFirst,
  keepLast,
  keepDomain,
  filler: '*',
});

describe('compileMask', () => {
  it('gives HMAC-SHA-256 in the form of the type', () => {
    // What `printf x | openssl dgst -sha256 -hmac "$KEY"` prints.
    const digest = '6abaa991f4f620826dcd76e72a9ceff6e53bd0bc2c8bd3259c827cca99bbb1ca';
    expect(mask(hmac, 'text')('x')).toBe(digest);
    expect(mask(hmac, 'uuid')('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')).toMatch(
      /^[\da-f-]{14}8[\da-f]{3}-[89ab][\da-f-]{16}$/,
    );
    expect(mask(hmac, 'bytea')('\\x00')).toMatch(/^\\x[\da-f]{64}$/);
    expect(mask(hmac, 'jsonb')('{}')).toMatch(/^"[\da-f]{64}"$/);
    expect(mask({ ...hmac, output: 'base64url' }, 'varchar(43)')('x')).toHaveLength(43);
    expect(mask(hmac, 'char(70)')('x   ')).toBe(`${mask(hmac, 'text')('x')}      `);
  });

  it('has a name for every key that tells another secret', () => {
    const other = new Map([['k1', 'yet another secret, not the first']]);
    expect(compile(hmac, 'text').id).toMatch(/^hmac\(k1#[\da-f]{8},hex\)$/);
    expect(compile(hmac, 'text').id).not.toBe(compile(hmac, 'text', false, other).id);
    expect(mask(hmac, 'text')('x')).not.toBe(mask({ ...hmac, key: 'k2' }, 'text')('x'));
  });

  it.each([
    [partial(2, 1), 'text', 'Lovelace', 'Lo*****e'],
    [partial(4, 4), 'text', 'Lovelace', '********'],
    [partial(1, 0, true), 'text', 'ada@example.org', 'a**@example.org'],
    [partial(1, 0, true), 'text', 'a@example.org', '*@example.org'],
    [partial(0, 4), 'char(20)', '4111-1111-1111      ', '**********1111      '],
    [partial(1, 0), 'text', '🐘🐘', '🐘*'],
    [{ method: 'fixed', value: '1.5' }, 'numeric(12,2)', '7.00', '1.50'],
    [{ method: 'fixed', value: '{a,b}' }, 'text[]', '{c}', '{a,b}'],
    [{ method: 'nullify' }, 'text', 'x', null],
  ] satisfies [MaskSpec, string, string, string | null][])('%o of a %s', (spec, type, text, expected) => {
    expect(mask(spec, type)(text)).toBe(expected);
    expect(mask(spec, type)(null)).toBeNull();
  });

  it('keeps the form of texts, and different texts different', () => {
    const apply = mask(format, 'text');
    expect(apply('+49 (170) 123-4567')).toMatch(/^\+\d\d \(\d{3}\) \d{3}-\d{4}$/);
    expect(apply('Ada Łovelace')).toMatch(/^[A-Z][a-z]{2} .[a-z]{7}$/u);
    expect(apply('--- ')).toBe('--- ');
    const forms = (text: string): string =>
      Array.from(text, (character) => alphabetOf(character.codePointAt(0) ?? 0)?.name ?? character).join('');
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 20 }), (text) => forms(apply(text) ?? '') === forms(text)),
    );
    const all = Array.from({ length: 1000 }, (_, at) => apply(`A${at}z`));
    expect(new Set(all).size).toBe(1000);
  });

  it('permutes the whole numbers of one sign and length', () => {
    const apply = mask(format, 'int4', true);
    fc.assert(
      fc.property(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), (value) => {
        const masked = Number(apply(String(value)));
        return (
          masked >= -(2 ** 31) &&
          masked < 2 ** 31 &&
          String(masked).length === String(value).length &&
          masked < 0 === value < 0
        );
      }),
    );
    const small = Array.from({ length: 110 }, (_, at) => apply(String(at - 10)));
    expect(new Set(small).size).toBe(110);
  });

  it('permutes numerics of one form, and uuids', () => {
    const apply = mask(format, 'numeric(8,2)');
    expect(apply('-0.01')).toMatch(/^-0\.\d\d$/);
    expect(apply('1234.50')).toMatch(/^[1-9]\d{3}\.\d\d$/);
    const all = Array.from({ length: 99 }, (_, at) => apply(`-0.${String(at + 1).padStart(2, '0')}`));
    expect([new Set(all).size, all.includes('-0.00')]).toEqual([99, false]);
    expect(mask(format, 'uuid', true)('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')).toMatch(
      /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/,
    );
  });

  it.each([
    [{ method: 'nullify' }, 'text', { notNull: true }, /NOT NULL/],
    [hmac, 'int4', {}, /hmac gives text, uuid or bytea/],
    [hmac, 'varchar(20)', {}, /hmac as hex has 64 characters/],
    [{ ...hmac, key: 'k3' }, 'text', {}, /masks.keys has no k3.*did you mean k1/],
    [{ ...hmac, key: 'weak' }, 'text', {}, /shorter than 16 bytes/],
    [format, 'numeric', {}, /format takes/],
    [format, 'jsonb', {}, /format takes/],
    [partial(1, 1), 'int4', {}, /partial takes text/],
    [{ method: 'fixed', value: 'many' }, 'int4', {}, /no integer \(invalid_text\)/],
    [{ method: 'fixed', value: 'x' }, 'text', { generated: true }, /generated/],
  ] satisfies [MaskSpec, string, Partial<ColumnStructure>, RegExp][])(
    'refuses %o of a %s',
    (spec, type, extra, expected) => {
      expect(() => compileMask(spec, { ...column(type), ...extra }, { where: 'here', keys, isKey: false })).toThrow(
        expect.toSatisfy(
          (error: { code: string; message: string; fix?: string }) =>
            error.code === 'rule_invalid' &&
            expected.test(`${error.message} ${error.fix ?? ''}`) &&
            !error.message.includes('feeble'),
        ),
      );
    },
  );

  it('takes for keys only what keeps different values different', () => {
    expect(compile(hmac, 'text', true).id).toContain('hmac');
    for (const spec of [
      partial(1, 1),
      { method: 'fixed', value: 'x' },
      { method: 'hash', salt: 's', output: null },
    ] satisfies MaskSpec[])
      expect(() => compile(spec, 'text', true)).toThrow(expect.objectContaining({ fix: 'use hmac or format' }));
  });
});

function mask(spec: MaskSpec, type: string, isKey = false): (text: string | null) => string | null {
  return compile(spec, type, isKey).apply;
}

function compile(spec: MaskSpec, type: string, isKey = false, secrets = keys): ReturnType<typeof compileMask> {
  return compileMask(spec, column(type), { where: 'here', keys: secrets, isKey });
}

function column(type: string): ColumnStructure {
  return { name: 'c', ...parseValueType(type, 'here'), notNull: false, generated: false, identity: '' };
}
