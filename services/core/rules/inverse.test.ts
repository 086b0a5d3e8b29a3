import { expect, test } from 'vitest';
import { findIrreversible } from '#core/rules/inverse.ts';
import type { MaskSpec } from '#core/rules/values/mask-types.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';

function column(name: string, more: Partial<ColumnStructure> = {}): ColumnStructure {
  return {
    name,
    type: 'text',
    typeSchema: 'pg_catalog',
    typeName: 'text',
    modifiers: '',
    json: 'text',
    notNull: false,
    generated: false,
    identity: '',
    enumLabels: null,
    ...more,
  };
}

const TABLE: TableStructure = {
  schema: 'public',
  table: 'orders',
  topic: 'shop.public.orders',
  columns: [column('id'), column('note'), column('tags')],
  identity: { kind: 'primaryKey', columns: ['id'], isFull: false },
  primaryKey: ['id'],
  uniques: [],
};
const NULL_MASK: MaskSpec = { method: 'nullify' };
const RULE: RuleConfig = {
  table: { schema: 'public', table: 'orders' },
  rename: { schema: 'sales', table: 'orders' },
  renameColumns: new Map([['note', 'remark']]),
  dropColumns: [],
  where: null,
};

test('a table that no rule names, and one whose names alone are changed, can be gone back', () => {
  expect(findIrreversible(TABLE, [], null)).toEqual([]);
  expect(findIrreversible(TABLE, [{ ...RULE, orderColumns: ['tags'] }], null)).toEqual([]);
  const added = { column: 'origin', type: 'text', value: "'shop'" };
  expect(findIrreversible(TABLE, [{ ...RULE, setColumns: [added] }], null)).toEqual([]);
});

test.each<[string, Partial<RuleConfig>]>([
  ['rows are left out by where', { where: 'id > 1' }],
  ['one row becomes several', { unnest: { column: 'tags', as: 'tag', position: null } }],
  ['columns are left out: note', { dropColumns: ['note'] }],
  ['columns are left out: tags', { keepColumns: ['id', 'note'] }],
  ['columns are replaced: note', { setColumns: [{ column: 'note', type: 'text', value: "''" }] }],
  ['another type: id', { castColumns: new Map([['id', 'int4']]) }],
  ['masked: note', { maskColumns: { specs: new Map([['note', NULL_MASK]]), keys: new Map() } }],
  ['another key', { key: ['note'] }],
])('%s', (reason, change) => {
  expect(findIrreversible(TABLE, [{ ...RULE, ...change }], null)).toEqual([reason]);
});

test('a split, a merge, a mask and a column left out at capture cannot', () => {
  expect(findIrreversible(TABLE, [RULE, { ...RULE, rename: null }], null)).toEqual(['it is split over several tables']);
  const other = { ...RULE, table: { schema: 'public', table: 'orders_old' } };
  expect(findIrreversible(TABLE, [RULE, other], null)).toEqual(['rows of several tables come together']);
  const masked = { ...TABLE, columns: [column('id'), column('note', { mask: 'hash' })], excluded: ['tags'] };
  expect(findIrreversible(masked, [], null)).toEqual(['masked at capture: note', 'left out at capture: tags']);
});
