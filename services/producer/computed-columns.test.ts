import { describe, expect, it } from 'vitest';
import type { ColumnFacts, TableFacts } from '#adapters/postgres/source/table-facts.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';
import { findComputed, type ComputedColumns, type ComputedQuestion } from './computed-columns.ts';

const PLAIN: ColumnFacts = { missing: null, expression: null, hasMissing: false, computed: null };
const ID = makeColumn('id', 'int4');
const A = makeColumn('a', 'int4');

function computed(name: string, expression: string): ColumnStructure {
  return makeColumn(name, 'int4', { generated: true, generation: { kind: 'stored', expression } });
}

function table(...columns: readonly ColumnStructure[]): TableStructure {
  return makeTable('p', 't', columns);
}

/** The catalog: columns by number; generated ones read `a` and were written by transaction 100. */
function catalog(...columns: readonly (ColumnStructure | null)[]): { now: TableStructure; facts: TableFacts } {
  const there = columns.flatMap((column, index) => (column === null ? [] : [{ column, number: index + 1 }]));
  return {
    now: table(...there.map(({ column }) => column)),
    facts: {
      oid: 1,
      fileNode: '1',
      attributes: '1',
      columnsOf: null,
      numbers: new Map(there.map(({ column, number }) => [column.name, number])),
      columns: new Map(
        there.map(({ column }) => [
          column.name,
          column.generated ? { ...PLAIN, computed: { reads: ['a'], writtenBy: [90, 100] } } : PLAIN,
        ]),
      ),
    },
  };
}

function find(
  before: readonly (ColumnStructure | null)[],
  now: ReturnType<typeof catalog>,
  more: Partial<ComputedQuestion> = {},
): ComputedColumns {
  const earlier = catalog(...before);
  const sent = [ID, A];
  return findComputed({
    before: { structure: earlier.now, source: earlier.facts },
    sent,
    numbers: new Map([
      ['id', 1],
      ['a', 2],
    ]),
    ...now,
    xid: 200,
    ...more,
  });
}

const names = ({ columns }: ComputedColumns): string[] => [...columns.keys()];

describe('findComputed', () => {
  const g = computed('g', '(a * 2)');

  it('takes a generated column that an earlier transaction made, or this one, with its number', () => {
    for (const xid of [100, 200]) {
      const found = find([ID, A], catalog(ID, A, g), { xid });
      expect(found).toEqual({ columns: new Map([['g', g]]), numbers: new Map([['g', 3]]), due: null });
    }
  });

  it('puts one off that a later transaction made, until the stream has come to that', () => {
    expect(find([ID, A], catalog(ID, A, g), { xid: 99 })).toMatchObject({ columns: new Map(), due: 100 });
  });

  it('puts one off whose columns the stream does not have yet, or has under other numbers or types', () => {
    const now = catalog(ID, A, g);
    expect(names(find([ID, A], now, { sent: [ID] }))).toEqual([]);
    expect(names(find([ID, A], now, { sent: [ID, makeColumn('a', 'int8')] }))).toEqual([]);
    expect(names(find([ID, A], now, { numbers: new Map([['a', 4]]) }))).toEqual([]);
  });

  it('keeps the column as it was where the catalog has it otherwise, and not yet here', () => {
    const found = find([ID, A, g], catalog(ID, A, computed('h', '(a * 3)')), { xid: 99 });
    expect(found.columns).toEqual(new Map([['g', g]]));
    expect(found.numbers).toEqual(new Map([['g', 3]]));
  });

  it('keeps it as long as the stream does not send the plain column that it is by now', () => {
    const now = catalog(ID, A, makeColumn('g', 'int4'));
    expect(names(find([ID, A, g], now))).toEqual(['g']);
    expect(names(find([ID, A, g], now, { sent: [ID, A, makeColumn('g', 'int4')] }))).toEqual([]);
  });

  it('lets one go that the catalog no longer has', () => {
    expect(names(find([ID, A, g], catalog(ID, A)))).toEqual([]);
  });

  it('leaves all as it was where the table is gone', () => {
    expect(names(find([ID, A, g], catalog(ID, A), { now: null, facts: null }))).toEqual(['g']);
  });
});
