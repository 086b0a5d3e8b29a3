import { expect, test } from 'vitest';
import { loadConfig } from '#core/config-load.ts';

const HEAD = `name: shop
kafka: { brokers: ["127.0.0.1:9092"] }
targets: [{ name: new, postgres: { url: "postgresql://t@h/t" } }]
`;
const KEYS = 'masks: { keys: { k1: "${KEY}" } }\n';
const KEY = 'a secret of thirty-two characters';

test('masks and exclusions are read with their keys from the environment', () => {
  const config = load(`source:
  postgres: { url: "postgresql://s@h/s" }
  columns:
    - table: public.customers
      exclude: [notes]
      mask:
        email: { method: hmac, key: k1, output: uuid }
        first.name: { method: partial, keepFirst: 1 }
        born: { method: nullify }
`);
  expect(config.maskKeys?.get('k1')).toBe(KEY);
  expect(config.source.columns).toEqual([
    {
      table: { schema: 'public', table: 'customers' },
      exclude: ['notes'],
      masks: new Map<string, unknown>([
        ['email', { method: 'hmac', key: 'k1', output: 'uuid' }],
        ['first.name', { method: 'partial', keepFirst: 1, keepLast: 0, keepDomain: false, filler: '*' }],
        ['born', { method: 'nullify' }],
      ]),
    },
  ]);
});

test.each([
  ['{ method: hmca, key: k1 }', /shop.yaml:8:\d+: .*method/],
  ['{ methd: hmac }', /shop.yaml:8:\d+: unknown key "methd".*did you mean "method"/],
  ['{ key: k1 }', /mask.email.method is required/],
  ['{ method: hmac }', /shop.yaml:8:\d+: .*hmac needs key/],
  ['{ method: hash, salt: s, key: k1 }', /shop.yaml:8:\d+: .*hash takes no key/],
  ['{ method: fixed }', /fixed needs value/],
  ['hmac', /must hold keys and values/],
])('mask %s is refused at its place', (mask, expected) => {
  const text = `source:
  postgres: { url: "postgresql://s@h/s" }
  columns: [{ table: public.customers, mask: { email: ${mask} } }]
`;
  const spread = text.replace('mask: {', 'mask:\n        {');
  expect(() => load(spread)).toThrow(expect.objectContaining({ message: expect.stringMatching(expected) as string }));
});

test('a short key is refused without its value, and so is a column both masked and left out', () => {
  const text = `${HEAD}masks: { keys: { k1: "too short" } }
source:
  postgres: { url: "postgresql://s@h/s" }
  columns: [{ table: public.c, exclude: [a], mask: { a: { method: nullify } } }]
`;
  expect(() => loadConfig(text, 'shop.yaml', {})).toThrow(
    expect.toSatisfy(
      ({ message }: Error) =>
        /shop.yaml:4:\d+: masks.keys.k1: a key has 16/.test(message) &&
        /column a is both/.test(message) &&
        !message.includes('too short'),
    ),
  );
});

function load(source: string): ReturnType<typeof loadConfig> {
  return loadConfig(`${HEAD}${KEYS}${source}`, 'shop.yaml', { KEY });
}
