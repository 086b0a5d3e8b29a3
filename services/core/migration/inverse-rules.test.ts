import { expect, test } from 'vitest';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { TableStructure } from '#core/structure.ts';
import type { TableName } from '#core/table-name.ts';
import { invertRules } from './inverse-rules.ts';

const name = (table: string, schema = 'public'): TableName => ({ schema, table });

function structure(table: string, columns: readonly string[] = ['id', 'note']): TableStructure {
  return {
    ...name(table),
    topic: `t.${table}`,
    columns: columns.map((column) => ({ name: column })) as unknown as TableStructure['columns'],
    identity: { kind: 'primaryKey', columns: ['id'], isFull: false },
    primaryKey: ['id'],
    uniques: [],
  };
}

function rule(table: string, more: Partial<RuleConfig> = {}): RuleConfig {
  return { table: name(table), rename: null, renameColumns: new Map(), dropColumns: [], where: null, ...more };
}

const output = (...rules: RuleConfig[]) => ({ name: 'main', version: 1, rules });

test('new names go back by themselves, and columns that a rule adds are left out', () => {
  const renamed = rule('orders', {
    place: 'shop.yaml:9:11',
    rename: name('purchases', 'shop'),
    renameColumns: new Map([['note', 'remark']]),
    setColumns: [{ column: 'twice', type: 'int', value: 'id * 2' }],
  });
  const columns = rule('columns', { renameColumns: new Map([['id', 'key']]) });
  const tables = ['orders', 'plain', 'columns', 'free'].map((table) => structure(table));
  expect(invertRules(tables, output(renamed, rule('plain'), columns))).toEqual({
    lost: [],
    rules: [
      rule('purchases', {
        table: name('purchases', 'shop'),
        rename: name('orders'),
        renameColumns: new Map([['remark', 'note']]),
        dropColumns: ['twice'],
      }),
      rule('columns', { renameColumns: new Map([['key', 'id']]) }),
    ],
  });
  expect(invertRules(tables, undefined)).toEqual({ rules: [], lost: [] });
});

test.each<[string, Partial<RuleConfig> & Record<string, unknown>]>([
  ['columns are left out: note', { dropColumns: ['note'] }],
  ['rows are left out by where', { where: 'id > 0' }],
  ["its rule's teleport has no inverse", { teleport: { to: 'mars' } }],
])('%s: the table is named, and no rule goes back', (why, more) => {
  expect(invertRules([structure('t')], output(rule('t', more)))).toEqual({
    rules: [],
    lost: [{ table: name('t'), why }],
  });
});
