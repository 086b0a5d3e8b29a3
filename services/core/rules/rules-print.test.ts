import { expect, test } from 'vitest';
import { loadConfig } from '#core/config-load.ts';
import { changedParts, printRules, writePrint, type RulesPrint } from '#core/rules/rules-print.ts';

const BASE = `
      rules:
        - { table: public.orders, where: "id > 0", columns: { rename: { a: b, c: d }, mask: { m: { method: hmac, key: k1 } } } }
      validate:
        - { table: public.orders, notNull: [a], onFailure: row }
        - { table: public.orders, range: { column: a, min: "0" }, onFailure: count }`;

function print(output: string, { module = null, key = 'a secret of thirty-two characters' } = {}): RulesPrint {
  const text = `name: shop
kafka: { brokers: ["k:9092"] }
source: { postgres: { url: postgres://s/db } }
masks: { keys: { k1: "${key}" } }
transform:
  outputs:
    - name: main${output}
targets: [{ name: new, postgres: { url: postgres://t/db } }]
`;
  const [first] = loadConfig(text, 'shop.yaml', {}).outputs;
  if (first === undefined) throw new Error('no output');
  return printRules(first, module);
}

const written = writePrint(print(BASE));
const changed = (output: string, more: Parameters<typeof print>[1] = {}): string[] =>
  changedParts(print(output, more), written);

test('the same rules print the same, however they are written', () => {
  const other = BASE.replace('rename: { a: b, c: d }', 'rename: { c: d, a: b }, drop: []').replace(
    '\n',
    '\n\n# moved\n',
  );
  expect(changed(other)).toEqual([]);
  expect(changed(BASE.replace('min: "0"', 'min: "1"'))).toEqual([]);
  expect(changed(BASE, { key: 'another secret of enough characters' })).toEqual([]);
  expect(written).not.toContain('secret');
});

test('what makes other events is told by its part', () => {
  expect(changed(BASE.replace('id > 0', 'id > 1'))).toEqual(['rules']);
  expect(changed(BASE.replace('hmac', 'hash').replace(', key: k1', ', salt: a salt of enough letters'))).toEqual([
    'rules',
  ]);
  expect(changed(BASE.replace('onFailure: row', 'onFailure: transaction'))).toEqual(['checks']);
  expect(changed(`\n      tables: ["public.*"]${BASE}`)).toEqual(['tables']);
  expect(changed(`\n      profile: debezium${BASE}`)).toEqual(['profile']);
});

test('nobody is asked where nothing was written', () => {
  expect(changedParts(print(BASE), undefined)).toEqual([]);
});
