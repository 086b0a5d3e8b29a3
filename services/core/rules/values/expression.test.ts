import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileExpression } from '#core/rules/values/expression.ts';
import type { ExpressionContext } from '#core/rules/values/expression-types.ts';
import { parseValueType } from '#core/rules/values/value-types.ts';
import type { ColumnStructure } from '#core/structure.ts';

const columns = [
  column('id', 'int8'),
  column('price', 'numeric(12,2)'),
  column('rate', 'numeric'),
  column('name', 'text'),
  column('born', 'date'),
  column('seen', 'timestamptz'),
  column('local', 'timestamp'),
  column('doc', 'jsonb'),
  column('tags', 'text[]'),
  column('sizes', 'int4[]'),
  column('ratio', 'float8'),
  column('raw', 'bytea'),
  column('ok', 'bool'),
  { ...column('mood', 'text'), typeSchema: 'public', typeName: 'mood', type: 'mood' },
];
const row: Record<string, string | null> = {
  id: '7',
  price: '10.00',
  rate: '3',
  name: 'Ada Łove',
  born: '1815-12-10',
  seen: '2024-02-29 23:59:59.999999+00',
  local: '2024-02-29 23:59:59',
  doc: '{"a": {"b": 12345678901234567890.10}, "list": [1, "x", null], "on": true}',
  tags: '{new,"a b",NULL}',
  sizes: '{1,2,3}',
  ratio: '0.1',
  raw: '\\xdeadbeef',
  ok: 't',
  mood: 'happy',
};

describe('compileExpression', () => {
  it.each([
    ['price / rate', 'numeric', '3.3333333333333333'],
    ['price / rate', 'numeric(12,2)', '3.33'],
    ['div(price, rate, 4)', 'numeric', '3.3333'],
    ['round(price / rate, 1)', 'numeric(12,2)', '3.30'],
    ['price * 1.5', 'numeric(12,2)', '15.00'],
    ['price + 0.10000000000000000001', 'numeric', '10.10000000000000000001'],
    ['id', 'int4', '7'],
    ['id * 3 - 1', null, '20'],
    ['-9223372036854775808', null, '-9223372036854775808'],
    ['int("42") % 5', null, '2'],
    ['ratio * 2', null, '0.2'],
    ['name + "!"', null, 'Ada Łove!'],
    ['lower(name).upperAscii()', null, 'ADA ŁOVE'.replace('Ł', 'ł')],
    ['name.substring(4, 5) + left(name, 1) + right(name, 2)', null, 'ŁAve'],
    ['name.split(" ")[1]', null, 'Łove'],
    ['size(name)', null, '8'],
    ['trim("--x-", "-") + rtrim("y  ")', null, 'xy'],
    ['replace(name, "a", "o")', null, 'Ado Łove'],
    ['concat(name, null, 1, true)', null, 'Ada Łove1true'],
    ['format("%s has 100%% of %s", name, price)', null, 'Ada Łove has 100% of 10.00'],
    ['coalesce(null, rate, 1)', null, '3'],
    ['greatest(1, null, 2.5)', null, '2.5'],
    ['id > 5 ? "much" : "little"', null, 'much'],
    ['json(doc).a.b', 'text', '12345678901234567890.10'],
    ['decimal(json(doc).a.b) + 1', null, '12345678901234567891.10'],
    ['json(doc).list', null, '[1, "x", null]'],
    ['string(json(doc).list[1])', null, 'x'],
    ['json(doc)["a"].missing.deeper', null, null],
    ['{"n": name, "id": id, "p": price, "l": [1, 2]}', 'jsonb', '{"l": [1, 2], "n": "Ada Łove", "p": 10.00, "id": 7}'],
    ['items(tags)', null, '{new,"a b",NULL}'],
    ['items(sizes).map(s, s * 2)', 'int4[]', '{2,4,6}'],
    ['items(sizes).filter(s, s > 1)', 'jsonb', '[2, 3]'],
    ['seen + duration("1us")', null, '2024-03-01 00:00:00+00'],
    ['local', 'timestamptz', '2024-02-29 23:59:59+00'],
    ['dateTrunc("month", seen)', 'timestamp', '2024-02-01 00:00:00'],
    ['date(seen) - born', null, '76052'],
    ['seen - timestamp("2024-02-28T00:00:00Z")', null, '47:59:59.999999'],
    ['year(born) * 100 + month(born)', 'text', '181512'],
    ['hex(sha256("abc"))', null, 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
    ['raw + b"\\x01"', null, '\\xdeadbeef01'],
    ['regexReplace(name, "[aeiou]+", "_")', null, 'Ad_ Ł_v_'],
    ['regexExtract(name, "^(\\\\w+)")', null, 'Ada'],
    ['event.time', 'timestamptz', '1970-01-01 00:00:00.000001+00'],
    ['customer.name', null, 'Bob'],
    ['mood', null, 'happy'],
    ['mood', 'text', 'happy'],
    ['column("name")', 'varchar(20)', 'Ada Łove'],
    ['null', 'int4', null],
  ])('%s as %s is %s', (text, result, expected) => {
    expect(evaluate(text, result)).toBe(expected);
  });

  it.each([
    ['name == null', false],
    ['json(doc).a.missing == null', true],
    ['json(doc).on', null],
    ['json(doc).on == true && json(doc).list[0] == 1', true],
    ['json(doc).list[1] == 1', false],
    ['has(json(doc).a) && !has(json(doc).z)', true],
    ['json(doc).list.exists(x, x == "x")', true],
    ['items(tags).exists(t, t == "none")', null],
    ['items(tags).all(t, t != "new")', false],
    ['"new" in items(tags)', true],
    ['id in [1, 2, null]', null],
    ['seen >= "2024-02-29" && seen < "2024-03-01"', true],
    ['born < seen', true],
    ['raw == b"\\xde\\xad\\xbe\\xef"', true],
    ['price == 10 && price > 9.99', true],
    ['id == 0 || 1 / (id - 7) > 0', 'throws'],
    ['1 / (id - 7) > 0 || id == 7', true],
    ['name.matches("^A.*e$")', true],
    ['customer == null', false],
  ])('%s is %s', (text, expected) => {
    const compiled = compile(text, null);
    if (expected === 'throws')
      expect(() => compiled.test(image(), context)).toThrow(
        expect.objectContaining({ code: 'rule_failed', reason: 'division_by_zero' }),
      );
    else if (text === 'json(doc).on') expect(compiled.kind).toBe('json');
    else expect(compiled.test(image(), context)).toBe(expected);
  });

  it.each([
    ['nme + "x"', /nme is not in the table.*did you mean name/],
    ['lowr(name)', /lowr is not known.*did you mean lower/],
    ['lower(id)', /no such call: lower\(int\).*lower\(string\)/],
    ['name + 1', /no such operation: string \+ int/],
    ['ratio + id', /no such operation: double \+ int/],
    ['id == "x"', /int == string/],
    ['customer.nam', /nam is not in customer.*did you mean name/],
    ['customer', /customer is a row/],
    ['name.matches("(a)\\\\1")', /the pattern cannot be used.*without back-references/],
    ['name.matches("(?=a)")', /the pattern cannot be used/],
    ['name.matches(name)', /must be written out/],
    ['duration("1 year")', /no duration/],
    ['born > "yesterday"', /no date in ISO form/],
    ['id ? 1 : 2', /a condition is a bool, not int/],
    ['[1, "a"]', /one kind/],
    ['9223372036854775808', /larger than int8/],
    ['1u', /unsigned/],
    ['doc.a', /a string has no fields.*json\(doc\)\.a/],
    ['items(name)', /items takes a column that is an array/],
    ['format("%d", id)', /%s and %% alone/],
    ['[1].map(id, id)', /variable id has a column's name/],
    ['x ==', /cannot be read/],
    ['now()', /now is not known/],
  ])('refuses %s', (text, expected) => {
    expect(() => compile(text, null)).toThrow(
      expect.toSatisfy(
        (error: { code: string; message: string; fix?: string }) =>
          error.code === 'rule_invalid' && expected.test(`${error.message} ${error.fix ?? ''}`),
      ),
    );
  });

  it.each([
    ['name', 'int4', 'invalid_text'],
    ['id * 1000000000', 'int4', 'out_of_range'],
    ['price * 1000000000', 'numeric(12,2)', 'out_of_range'],
    ['name', 'varchar(3)', 'too_long'],
    ['id * 9223372036854775807', null, 'out_of_range'],
    ['int(json(doc).list[1])', null, 'wrong_type'],
    ['json(doc).list[1] > 1', null, 'wrong_type'],
  ])('fails a row for %s as %s with %s, without its value', (text, result, reason) => {
    expect(() => evaluate(text, result)).toThrow(
      expect.toSatisfy(
        (error: { code: string; reason: string; message: string }) =>
          error.code === 'rule_failed' && error.reason === reason && !error.message.includes('Ada'),
      ),
    );
  });

  it.each([
    ['price * 2', 'int8'],
    ['seen', 'int8'],
    ['id > 1', 'int4'],
    ['seen + duration("1s")', 'date'],
  ])('%s becomes %s only by a word of its own', (text, result) => {
    expect(() => compile(text, result)).toThrow(expect.objectContaining({ code: 'rule_invalid' }));
  });

  it('fails where the event lacks an unchanged value, and only if it is read', () => {
    const compiled = compile('id > 5 || name == "x"', null);
    expect(compiled.columns).toEqual(['id', 'name']);
    expect(compiled.test(new Map([['id', '7']]))).toBe(true);
    expect(() => compiled.test(new Map([['id', '1']]))).toThrow(expect.objectContaining({ reason: 'column_absent' }));
  });

  it('has infinities and years before Christ in their order', () => {
    const compiled = compile('seen < timestamp("infinity") && seen > "0044-03-15 00:00:00 BC"', null);
    expect(compiled.test(new Map([['seen', '0043-01-01 00:00:00+00 BC']]))).toBe(true);
    expect(compiled.test(new Map([['seen', 'infinity']]))).toBe(false);
    expect(evaluate('seen + duration("1h")', null, { seen: '-infinity' })).toBe('-infinity');
    expect(() => evaluate('year(seen)', null, { seen: 'infinity' })).toThrow(
      expect.objectContaining({ reason: 'not_finite' }),
    );
  });

  it('adds and multiplies as whole numbers do', () => {
    const sum = compile('rate + price * 3', null);
    fc.assert(
      fc.property(
        fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }),
        fc.bigInt({ min: -(10n ** 9n), max: 10n ** 9n }),
        (a, b) => {
          const cells = new Map([
            ['rate', String(a)],
            ['price', `${b}.00`],
          ]);
          return sum.evaluate(cells) === `${a + b * 3n}.00`;
        },
      ),
    );
  });

  it('gives NULL for every operation on NULL', () => {
    const nothing = Object.fromEntries(columns.map(({ name }) => [name, null]));
    for (const text of [
      'id + 1',
      'price / rate',
      'name + "x"',
      'lower(name)',
      'json(doc).a',
      'items(tags)',
      '-id',
      'seen - seen',
    ])
      expect(evaluate(text, null, nothing)).toBeNull();
    for (const text of ['id > 1', '!ok', 'ok && true', 'name in ["a"]', 'items(tags).exists(t, true)'])
      expect(compile(text, null).test(image(nothing))).toBeNull();
    expect(compile('ok && false', null).test(image(nothing))).toBe(false);
    expect(compile('ok || true', null).test(image(nothing))).toBe(true);
    expect(evaluate('ok ? 1 : 2', null, nothing)).toBe('2');
  });
});

const context: ExpressionContext = {
  time: 1n,
  rows: new Map([['customer', new Map([['name', 'Bob']])]]),
};

function compile(text: string, result: string | null): ReturnType<typeof compileExpression> {
  return compileExpression(text, columns, {
    where: 'here',
    result: result === null ? null : parseValueType(result, 'here'),
    rows: new Map([['customer', [column('name', 'text')]]]),
  });
}

function evaluate(text: string, result: string | null, extra: Record<string, string | null> = {}): string | null {
  return compile(text, result).evaluate(image(extra), context);
}

function image(extra: Record<string, string | null> = {}): ReadonlyMap<string, string | null> {
  return new Map(Object.entries({ ...row, ...extra }));
}

function column(name: string, type: string): ColumnStructure {
  return { name, ...parseValueType(type, 'here'), notNull: false, generated: false, identity: '' };
}
