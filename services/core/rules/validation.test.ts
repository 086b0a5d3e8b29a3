import { expect, test } from 'vitest';
import type { Row } from '#core/envelope.ts';
import { compileValidation, findValidationProblems } from '#core/rules/validation.ts';
import type { ValidationCheck, ValidationConfig } from '#core/rules/validation-config.ts';
import { loadConfig } from '#core/config-load.ts';
import type { TableStructure } from '#core/structure.ts';
import { makeColumn, makeTable } from '../../../test/harness/structures.ts';

const table = makeTable('shop', 'orders', [
  makeColumn('id', 'int4'),
  makeColumn('amount', 'numeric'),
  makeColumn('mail', 'text'),
  makeColumn('details', 'jsonb'),
]);
const keyed: TableStructure = { ...table, identity: { ...table.identity, isFull: false } };
const full: TableStructure = { ...table, identity: { ...table.identity, isFull: true } };
const OTHER = { schema: 'public', table: 'orders' };
const row: Row = { id: 1, amount: '9007199254740993.1', mail: 'a@x', details: '{"sku": "a", "n": 2}' };

test.each<[ValidationCheck, Row, string]>([
  [{ kind: 'notNull', columns: ['mail'] }, row, ''],
  [{ kind: 'notNull', columns: ['id', 'mail'] }, { ...row, mail: null }, 'NULL in mail'],
  [{ kind: 'range', column: 'amount', min: '9007199254740993', max: null }, row, ''],
  [
    { kind: 'range', column: 'amount', min: null, max: '9007199254740993' },
    row,
    'column amount is above 9007199254740993',
  ],
  [{ kind: 'range', column: 'id', min: '2', max: null }, row, 'column id is below 2'],
  [{ kind: 'range', column: 'id', min: '2', max: null }, { ...row, id: null }, ''],
  [{ kind: 'pattern', column: 'mail', matches: '^[^@]+@x$' }, row, ''],
  [
    { kind: 'pattern', column: 'mail', matches: '^(a+)+$' },
    { ...row, mail: `${'a'.repeat(5_000)}!` },
    'the value does not match',
  ],
  [{ kind: 'oneOf', column: 'mail', values: ['b@x'] }, row, 'column mail has none of the values'],
  [{ kind: 'jsonSchema', column: 'details', schema: '{"required": ["sku"]}' }, row, ''],
  [
    { kind: 'jsonSchema', column: 'details', schema: '{"properties": {"n": {"type": "string"}}}' },
    row,
    'column details does not fit its schema: /n (type)',
  ],
  [
    { kind: 'jsonSchema', column: 'details', schema: '{"properties": {"sku": {"pattern": "^b"}}}' },
    row,
    'column details does not fit its schema: /sku (pattern)',
  ],
  [{ kind: 'unique', columns: ['id'] }, row, ''],
  [{ kind: 'test', expression: 'amount > 1 && mail != "b"' }, row, ''],
  [{ kind: 'test', expression: 'amount < 1' }, row, 'not so: amount < 1'],
  [{ kind: 'test', expression: 'amount < 1' }, { ...row, amount: null }, ''],
])('%o of %o: %s', (check, given, fault) => {
  expect(compileValidation(table, [config(check)], [])?.rows[0]?.fault(given)).toBe(fault);
});

test.each<[ValidationCheck, RegExp, RegExp]>([
  [{ kind: 'notNull', columns: ['mial'] }, /column mial is not in public.orders/, /did you mean mail/],
  [{ kind: 'range', column: 'mail', min: '1', max: null }, /holds no numbers/, /test, in CEL/],
  [{ kind: 'pattern', column: 'mail', matches: '(a)\\1' }, /none of RE2/, /back-references/],
  [{ kind: 'jsonSchema', column: 'mail', schema: '{}' }, /neither json nor jsonb/, /^$/],
  [{ kind: 'jsonSchema', column: 'details', schema: '{"type": "nothing"}' }, /JSON Schema cannot be used/, /^$/],
  [{ kind: 'jsonSchema', column: 'details', schema: '{"pattern": "(?=a)"}' }, /none of RE2/, /look-around/],
  [{ kind: 'unique', columns: ['amount'] }, /equal values of amount/, /unique index/],
  [{ kind: 'reference', other: OTHER, on: new Map([['id', 'mial']]) }, /column mial is not in/, /did you mean mail/],
  [{ kind: 'reference', other: OTHER, on: new Map([['id', 'mail']]) }, /cannot be compared by their text/, /integers/],
  [{ kind: 'reference', other: OTHER, on: new Map([['mail', 'mail']]) }, /by its key: id/, /just these columns/],
  [
    { kind: 'reference', other: { schema: 'public', table: 'ordrs' }, on: new Map([['id', 'id']]) },
    /not captured: public.ordrs/,
    /did you mean public.orders/,
  ],
  [{ kind: 'sum', column: 'amount', equals: '0', within: [] }, /without old values/, /REPLICA IDENTITY FULL/],
  [{ kind: 'test', expression: 'amount' }, /gives decimal, not a bool|gives numeric, not a bool/, /^$/],
  [{ kind: 'test', expression: 'amuont > 1' }, /amuont/, /amount/],
])('%o is refused before the first row', (check, what, fix) => {
  const [problem] = findValidationProblems([config(check)], [keyed]);
  expect(problem).toMatchObject({ code: 'rule_invalid', message: expect.stringMatching(what) as string });
  expect(problem?.fix ?? '').toMatch(fix);
});

test('a sum is of a transaction, and of a table that is captured', () => {
  const check: ValidationCheck = { kind: 'sum', column: 'amount', equals: '0', within: [] };
  expect(findValidationProblems([config(check)], [full])).toEqual([]);
  expect(findValidationProblems([{ ...config(check), onFailure: 'row' }], [full])[0]?.message).toMatch(
    /of a transaction/,
  );
  expect(findValidationProblems([config(check)], [])[0]?.message).toMatch(/not captured/);
});

test.each([
  ['{ table: public.orders, notNull: [id], test: "true" }', /give one check.*not 2/],
  ['{ table: public.orders }', /give one check/],
  ['{ table: public.orders, reference: { table: public.customers } }', /a reference needs on/],
  ['{ table: public.orders, reference: { table: customers, on: { id: cust } } }', /schema\.table/],
  ['{ table: public.orders, range: { column: id, min: "x" } }', /a decimal number/],
  ['{ table: public.orders, notNul: [id] }', /unknown key "notNul".*did you mean "notNull"/],
])('%s is refused with its line', (validate, message) => {
  expect(() => load(validate)).toThrow(expect.objectContaining({ message: expect.stringMatching(message) as string }));
});

test('a check is named by its table and what it asks', () => {
  expect(load('{ table: public.orders, notNull: [id, mail], onFailure: row }')).toEqual([
    {
      name: 'public.orders: notNull id, mail',
      place: 'shop.yaml:8:20',
      table: { schema: 'public', table: 'orders' },
      check: { kind: 'notNull', columns: ['id', 'mail'] },
      onFailure: 'row',
    },
  ]);
});

function config(check: ValidationCheck): ValidationConfig {
  return { name: 'it', table: { schema: 'public', table: 'orders' }, check, onFailure: 'stop' };
}

function load(validate: string): readonly ValidationConfig[] | undefined {
  const text = `name: shop
kafka: { brokers: ["127.0.0.1:9092"] }
source: { postgres: { url: "postgresql://s@h/s" } }
transform:
  outputs:
    - name: main
      validate:
        - ${validate}
targets: [{ name: new, postgres: { url: "postgresql://t@h/t" } }]
`;
  return loadConfig(text, 'shop.yaml', {}).outputs[0]?.validations;
}
