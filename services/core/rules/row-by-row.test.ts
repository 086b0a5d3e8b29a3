import { expect, test } from 'vitest';
import type { OutputConfig } from '#core/config.ts';
import { findOutputProblems } from '#core/rules/output-rules.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { TableStructure } from '#core/structure.ts';
import { makeColumn, makeTable } from '../../../test/harness/structures.ts';

type Settings = Partial<Pick<OutputConfig, 'quarantine' | 'validations' | 'module' | 'rules' | 'ordering'>>;

const item = table('item');
const part = table('part');
const ruled = (name: string, more: Partial<RuleConfig> = {}): RuleConfig => {
  return {
    table: { schema: 'public', table: name },
    rename: null,
    renameColumns: new Map(),
    dropColumns: [],
    where: null,
    ...more,
  };
};

function problemsOf(settings: Settings): string[] {
  const output = { rules: [], ordering: 'key' as const, ...settings };
  return findOutputProblems(output, [item, part], 'out', null).map(({ message }) => message);
}

function table(name: string): TableStructure {
  const columns = [makeColumn('id', 'int4'), makeColumn('v', 'text', { notNull: true })];
  return { ...makeTable('in', name, columns), identity: { kind: 'full', columns: ['id'], isFull: true } };
}

test('rows that are shaped one by one and keep their keys may be shared out', () => {
  const rules = [ruled('item', { renameColumns: new Map([['id', 'number']]), dropColumns: ['v'], where: 'id > 3' })];
  expect(problemsOf({ rules })).toEqual([]);
});

test.each<[string, Settings]>([
  ['a quarantine', { quarantine: 'row' }],
  ['a module', { module: { file: 'm.ts', memoryMb: 16, batchMs: 1 } }],
  [
    'check u',
    { validations: [{ name: 'u', table: item, check: { kind: 'unique', columns: ['v'] }, onFailure: 'count' }] },
  ],
  [
    'check n',
    { validations: [{ name: 'n', table: item, check: { kind: 'notNull', columns: ['v'] }, onFailure: 'row' }] },
  ],
  ['rows that are looked up or remembered', { rules: [ruled('item', { state: true })] }],
  ['where public.item and public.part meet', { rules: [ruled('item'), ruled('part', { rename: item })] }],
  ['whose rows get another key', { rules: [ruled('item', { key: ['v'] })] }],
])('refused by ordering: key: %s', (what, settings) => {
  expect(problemsOf(settings), what).toContainEqual(expect.stringContaining(what));
  expect(problemsOf({ ...settings, ordering: 'transaction' })).not.toContainEqual(
    expect.stringContaining('ordering: key'),
  );
});
