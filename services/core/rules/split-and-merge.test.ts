import { describe, expect, it } from 'vitest';
import type { Row } from '#core/envelope.ts';
import { findRuleProblems } from '#core/rules/output-rules.ts';
import type { RowEvent } from '#core/rules/row-delta.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import { compileTable } from '#core/rules/table-rules.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { makeColumn, makeTable } from '../../../test/harness/structures.ts';

const customers = makeTable('shop', 'customers', [
  makeColumn('id', 'int4'),
  makeColumn('name', 'text'),
  makeColumn('street', 'text'),
]);
const orders = makeTable('shop', 'orders', [makeColumn('id', 'int4'), makeColumn('items', 'jsonb')]);

describe('several rules for one table', () => {
  const split = compileTable(
    customers,
    [
      rule('customers', { keepColumns: ['id', 'name'] }),
      rule('customers', {
        rename: { schema: 'public', table: 'addresses' },
        keepColumns: ['id', 'street'],
        renameColumns: new Map([['id', 'customer_id']]),
        where: 'street != null',
      }),
    ],
    'out',
  );

  it('give a table each, with the columns that each keeps', () => {
    expect(
      split.branches.map(({ shaped }) => [shaped.table, shaped.columns.map(({ name }) => name), shaped.primaryKey]),
    ).toEqual([
      ['customers', ['id', 'name'], ['id']],
      ['addresses', ['customer_id', 'street'], ['customer_id']],
    ]);
  });

  it('follow a row that gets, changes and loses its part', () => {
    const bare = { id: 1, name: 'a', street: null };
    const housed = { id: 1, name: 'a', street: 's' };
    expect(shape('c', null, bare)).toEqual([['customers', 'c']]);
    expect(shape('u', bare, housed)).toEqual([
      ['customers', 'u'],
      ['addresses', 'c'],
    ]);
    expect(shape('u', housed, { ...housed, street: 't' })).toEqual([
      ['customers', 'u'],
      ['addresses', 'u'],
    ]);
    expect(shape('u', housed, bare)).toEqual([
      ['customers', 'u'],
      ['addresses', 'd'],
    ]);
    expect(shape('d', housed, null)).toEqual([
      ['customers', 'd'],
      ['addresses', 'd'],
    ]);
  });

  function shape(op: RowEvent['op'], before: Row | null, after: Row | null): string[][] {
    const shaped = split.apply({ op, key: { id: 1 }, before, after }, { place: 'here' });
    return shaped.map(({ branch, event }) => [branch.shaped.table, event.op]);
  }
});

describe('unnest', () => {
  const fanned = compileTable(
    orders,
    [
      rule('orders', {
        rename: { schema: 'public', table: 'lines' },
        renameColumns: new Map([['id', 'order_id']]),
        dropColumns: ['items'],
        unnest: { column: 'items', as: 'item', position: 'n' },
        key: ['order_id', 'n'],
      }),
    ],
    'out',
  );

  it('gives a row for each element, keyed by its place', () => {
    const [branch] = fanned.branches;
    expect(branch?.shaped.columns.map(({ name, type, notNull }) => [name, type, notNull])).toEqual([
      ['order_id', 'int4', true],
      ['item', 'jsonb', false],
      ['n', 'bigint', true],
    ]);
    expect(apply('r', null, '[{"q": 1.10, "t": "a,]"}, [2], null, "x"]')).toEqual([
      { op: 'r', order_id: 1, item: '{"q": 1.10, "t": "a,]"}', n: '1' },
      { op: 'r', order_id: 1, item: '[2]', n: '2' },
      { op: 'r', order_id: 1, item: 'null', n: '3' },
      { op: 'r', order_id: 1, item: '"x"', n: '4' },
    ]);
    expect([apply('r', null, '[]'), apply('r', null, null)]).toEqual([[], []]);
  });

  it('changes only the elements that changed', () => {
    expect(apply('u', '[1, 2, 3]', '[1, 5]')).toEqual([
      { op: 'd', order_id: 1, n: '3' },
      { op: 'u', order_id: 1, item: '5', n: '2' },
    ]);
    expect(apply('u', '[1]', '[1, 4]')).toEqual([{ op: 'c', order_id: 1, item: '4', n: '2' }]);
    expect(apply('d', '[1, 2]', null)).toEqual([
      { op: 'd', order_id: 1, n: '1' },
      { op: 'd', order_id: 1, n: '2' },
    ]);
  });

  it('takes arrays of PostgreSQL, and fails for a row whose elements share a key', () => {
    const tags = makeTable('shop', 'tags', [
      makeColumn('id', 'int4'),
      makeColumn('tags', '_text', { type: 'text[]', element: { schema: 'pg_catalog', name: 'text' } }),
    ]);
    const rules = compileTable(
      tags,
      [
        rule('tags', {
          dropColumns: ['tags'],
          unnest: { column: 'tags', as: 'tag', position: null },
          key: ['id', 'tag'],
        }),
      ],
      'out',
    );
    const rows = (text: string): unknown[] =>
      rules
        .apply({ op: 'r', key: { id: 1 }, before: null, after: { id: 1, tags: text } }, { place: 'here' })
        .map(({ event }) => event.after);
    expect(rows('{a,"b c","NULL"}')).toEqual([
      { id: 1, tag: 'a' },
      { id: 1, tag: 'b c' },
      { id: 1, tag: 'NULL' },
    ]);
    expect(() => rows('{a,a}')).toThrow('a row gives two rows of one key in public.tags');
    expect(() => rows('{{a},{b}}')).toThrow('one-dimensional');
  });

  function apply(op: RowEvent['op'], before: string | null, after: string | null): unknown[] {
    const row = (items: string | null): Row => ({ id: 1, items });
    const images = { before: op === 'r' ? null : row(before), after: op === 'd' ? null : row(after) };
    return fanned
      .apply({ op, key: { id: 1 }, ...images }, { place: 'here' })
      .map(({ event }) => ({ op: event.op, ...(event.after ?? event.before) }));
  }
});

describe('rules that give one table', () => {
  const year = (of: string, more: Partial<RuleConfig> = {}): RuleConfig =>
    rule(`orders_${of}`, {
      rename: { schema: 'public', table: 'orders' },
      setColumns: [{ column: 'year', type: 'int4', value: of }],
      key: ['year', 'id'],
      ...more,
    });
  const table = (of: string, columns?: readonly ColumnStructure[]): TableStructure =>
    makeTable(
      'shop',
      `orders_${of}`,
      columns ?? [makeColumn('id', 'int4', { notNull: true }), makeColumn('v', 'text')],
    );

  it('merge, with a constant that tells where a row came from', () => {
    const rules = [year('2024'), year('2025')];
    expect(findRuleProblems(rules, [table('2024'), table('2025')], 'out')).toEqual([]);
    const [branch] = compileTable(table('2025'), rules, 'out').branches;
    expect([branch?.shaped.primaryKey, [...(branch?.constants ?? [])]]).toEqual([['year', 'id'], [['year', '2025']]]);
    expect(branch?.rows({ id: 7, v: 'x' }, { place: 'here' })).toEqual([
      { key: '{"year":2025,"id":7}', row: { id: 7, v: 'x', year: 2025 } },
    ]);
    // The key of a deleted row is known from the source's key alone.
    expect(branch?.rows({ id: 7 }, { place: 'here' })).toEqual([
      { key: '{"year":2025,"id":7}', row: { id: 7, year: 2025 } },
    ]);
  });

  it('are refused where their columns or keys differ', () => {
    const wide = [makeColumn('id', 'int4'), makeColumn('v', 'varchar', { type: 'character varying(9)' })];
    const problems = (rules: RuleConfig[], tables: TableStructure[]): string[] =>
      findRuleProblems(rules, tables, 'out').map(({ message }) => message);
    expect(problems([year('2024'), year('2025')], [table('2024'), table('2025', wide)])).toEqual([
      'tables that are merged into public.orders have different columns: v (text and character varying(9))',
    ]);
    expect(problems([year('2024'), year('2025', { key: ['id'] })], [table('2024'), table('2025')])).toEqual([
      'tables that are merged into public.orders have different keys',
    ]);
  });
});

function rule(table: string, more: Partial<RuleConfig>): RuleConfig {
  return {
    table: { schema: 'public', table },
    rename: null,
    renameColumns: new Map(),
    dropColumns: [],
    where: null,
    ...more,
  };
}
