import { expect, test } from 'vitest';
import { loadConfig } from '#core/config-load.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { compileTable, type TableRules } from '#core/rules/table-rules.ts';
import { makeColumn, makeTable } from '../../../test/harness/structures.ts';

const KEY = 'a secret of thirty-two characters';
const people = makeTable('shop', 'people', [
  makeColumn('id', 'int4'),
  makeColumn('mail', 'text'),
  makeColumn('phone', 'text'),
]);

test('a row is masked in its new and old images, its key too, and decided on before', () => {
  const rules = compile(`
          columns: { mask: { id: { method: format, key: k1 }, phone: { method: partial, keepLast: 2 } }, rename: { phone: tel } }
          where: phone != "000"`);
  const made = rules.apply(
    {
      op: 'u',
      key: { id: 12 },
      before: { id: 12, mail: 'a', phone: '12345' },
      after: { id: 12, mail: 'b', phone: '67890' },
    },
    { place: 'here' },
  );
  expect(made).toHaveLength(1);
  const { event } = made[0] ?? { event: null };
  expect(event?.after).toEqual({ id: event?.key?.['id'], mail: 'b', tel: '***90' });
  expect(event?.key?.['id']).not.toBe(12);
  expect(JSON.stringify(made.map((one) => one.event))).not.toMatch(/12345|67890/);
  expect(rules.branches[0]?.isUnchanged).toBe(false);
  expect(rules.conceal({ id: 12, mail: 'a', phone: '12345' })).toEqual({
    id: event?.key?.['id'],
    mail: 'a',
    phone: '***45',
  });
});

test.each([
  ['mask: { id: { method: nullify } }', /part of a key/],
  ['mask: { maill: { method: nullify } }', /column maill is not in the table/],
  ['mask: { mail: { method: nullify } }, drop: [mail]', /both masked and dropped/],
  ['mask: { mail: { method: nullify } }, cast: { mail: varchar }', /both masked and cast/],
  ['mask: { mail: { method: hmac, key: k2 } }', /masks.keys has no k2/],
])('%s is refused before the first row', (columns, message) => {
  expect(() => compile(`\n          columns: { ${columns} }`)).toThrow(
    expect.objectContaining({ code: 'rule_invalid', message: expect.stringMatching(message) as string }),
  );
});

function compile(rule: string): TableRules {
  return compileTable(people, load(rule), 'shop.shaped.main.v1');
}

function load(rule: string): readonly RuleConfig[] {
  const text = `name: shop
kafka: { brokers: ["127.0.0.1:9092"] }
source: { postgres: { url: "postgresql://s@h/s" } }
transform:
  outputs:
    - name: main
      rules:
        - table: public.people${rule}
masks: { keys: { k1: "\${KEY}" } }
targets: [{ name: new, postgres: { url: "postgresql://t@h/t" } }]
`;
  return loadConfig(text, 'shop.yaml', { KEY }).outputs[0]?.rules ?? [];
}
