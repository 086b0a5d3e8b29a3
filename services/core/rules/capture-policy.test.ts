import { expect, test } from 'vitest';
import { CapturePolicy } from '#core/rules/capture-policy.ts';
import type { MaskSpec } from '#core/rules/values/mask-types.ts';
import { parseValueType } from '#core/rules/values/value-types.ts';
import { structureVersion, type ColumnStructure, type TableStructure } from '#core/structure.ts';
import { UNCHANGED } from '#core/tuple.ts';

const KEY = 'a secret of thirty-two characters';
const table: TableStructure = {
  schema: 'public',
  table: 'customers',
  topic: 'shop.public.customers',
  columns: [column('id', 'int8'), column('email', 'text'), column('notes', 'text'), column('total', 'int4')],
  identity: { kind: 'primaryKey', columns: ['id'], isFull: false },
  primaryKey: ['id'],
  uniques: [['email'], ['notes', 'total']],
};

test('a captured structure lacks what is left out and tells its masks', () => {
  const shaped = policy(['notes'], { email: { method: 'hmac', key: 'k1', output: null } }).shape(table);
  expect(shaped.columns.map(({ name }) => name)).toEqual(['id', 'email', 'total']);
  expect(shaped.columns[1]?.mask).toMatch(/^hmac\(k1#/);
  expect([shaped.uniques, shaped.excluded]).toEqual([[['email']], ['notes']]);
  expect(structureVersion(shaped)).not.toBe(structureVersion(table));
  const again = policy(['notes'], { email: { method: 'hmac', key: 'k1', output: null } }).shape(shaped);
  expect(structureVersion(again)).toBe(structureVersion(shaped));
});

test('rows lose and change the same values; NULL and unchanged TOAST stay', () => {
  const mask = policy(['notes'], { email: { method: 'format', key: 'k1' } }).rowMask(table, [
    'notes',
    'id',
    'email',
    'total',
  ]);
  expect(mask?.(['secret', '1', null, '2'])).toEqual(['1', null, '2']);
  expect(mask?.([UNCHANGED, '1', UNCHANGED, null])).toEqual(['1', UNCHANGED, null]);
  expect(mask?.(['secret', '1', 'ada', '2'])?.[1]).toMatch(/^(?!ada)[a-z]{3}$/);
  expect(policy([], {}).rowMask(table, ['id'])).toBeNull();
});

test.each([
  [['id'], {}, /id is part of the key/],
  [['nots'], {}, /nots is not in .*customers.*did you mean notes/],
  [[], { id: { method: 'fixed', value: '1' } }, /id.*different values must stay different/],
  [[], { email: { method: 'partial', keepFirst: 1, keepLast: 0, keepDomain: false, filler: '*' } }, /part of a key/],
  [[], { total: { method: 'hmac', key: 'k1', output: null } }, /hmac gives text/],
  [['total'], {}, /twice is computed from total/],
] satisfies [string[], Record<string, MaskSpec>, RegExp][])(
  'exclude %o, mask %o is refused',
  (exclude, masks, expected) => {
    const twice: ColumnStructure = {
      ...column('twice', 'int4'),
      generated: true,
      generation: { kind: 'stored', expression: '(total * 2)' },
    };
    const all = { ...table, columns: [...table.columns, twice] };
    const refused = policy(exclude, masks);
    expect(() => {
      refused.requireKnown([all]);
      refused.shape(all);
    }).toThrow(
      expect.toSatisfy(
        (error: { code: string; message: string; fix?: string }) =>
          error.code === 'rule_invalid' && expected.test(`${error.message} ${error.fix ?? ''}`),
      ),
    );
  },
);

test('history has one form of a value', () => {
  const hmac: MaskSpec = { method: 'hmac', key: 'k1', output: null };
  const before = policy(['notes'], { email: hmac }).shape(table);
  const names = ['id', 'email', 'notes'];
  const now =
    (exclude: string[], masks: Record<string, MaskSpec>, key = KEY) =>
    () => {
      const other = policy(exclude, masks, key);
      other.requireSame(before, other.shape(table), names);
    };
  expect(now(['notes'], { email: hmac })).not.toThrow();
  expect(now(['notes'], {})).toThrow(/email was captured masked by hmac.*, and now it is to be as it is/);
  expect(now(['notes'], { email: hmac }, 'yet another secret, not the first')).toThrow(/email was captured masked/);
  expect(now([], { email: hmac })).toThrow(/notes was captured not at all, and now it is to be as it is/);
  expect(now(['notes', 'total'], { email: hmac })).not.toThrow();
});

function policy(exclude: readonly string[], masks: Record<string, MaskSpec>, key = KEY): CapturePolicy {
  const columns = [{ table: { schema: 'public', table: 'customers' }, exclude, masks: new Map(Object.entries(masks)) }];
  const source = { columns } as unknown as ConstructorParameters<typeof CapturePolicy>[0]['source'];
  return new CapturePolicy({ source, maskKeys: new Map([['k1', key]]) });
}

function column(name: string, type: string): ColumnStructure {
  return { name, ...parseValueType(type, 'here'), notNull: false, generated: false, identity: '' };
}
