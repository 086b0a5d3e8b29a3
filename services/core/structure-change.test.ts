import { describe, expect, it } from 'vitest';
import { compareStructures, numberColumns, type AddedColumn, type ColumnChange } from '#core/structure-change.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { makeColumn } from '../../test/harness/structures.ts';

const untold = (name: string): Error => new Error(`untold ${name}`);

function table(...columns: readonly ColumnStructure[]): TableStructure {
  return {
    schema: 's',
    table: 't',
    topic: 'x.s.t',
    columns,
    identity: { kind: 'nothing', columns: [], isFull: false },
    primaryKey: [],
    uniques: [],
  };
}

function numbers(...names: readonly (string | null)[]): Map<string, number> {
  return new Map(names.flatMap((name, index) => (name === null ? [] : [[name, index + 1]])));
}

const NONE = new Map<string, AddedColumn>();

describe('numberColumns', () => {
  it('takes the numbers of both sides', () => {
    expect(numberColumns(['a', 'c'], numbers('a', 'b'), numbers('a', 'b', 'c'), untold)).toEqual(
      new Map([
        ['a', 1],
        ['c', 3],
      ]),
    );
  });

  it('keeps the number of a column that the catalog calls otherwise by now', () => {
    expect(numberColumns(['a', 'b'], numbers('a', 'b'), numbers('a', 'later'), untold).get('b')).toBe(2);
  });

  it('tells a name that went on to another column by what else is there', () => {
    const now = numbers('old', 'a');
    expect(numberColumns(['a'], numbers('a'), now, untold).get('a')).toBe(1);
    expect(numberColumns(['old', 'a'], numbers('a'), now, untold).get('a')).toBe(2);
  });

  it('tells a column that was dropped from one made again under its name by their neighbours', () => {
    const now = numbers(null, 'b', 'a');
    expect(numberColumns(['a', 'b'], numbers('a', 'b'), now, untold).get('a')).toBe(1);
    expect(numberColumns(['b', 'a'], numbers('a', 'b'), now, untold).get('a')).toBe(3);
  });

  it('gives up where a column was dropped and its name was given away, and at a name that was there for a moment', () => {
    expect(() => numberColumns(['a'], numbers('a'), numbers(null, 'a'), untold)).toThrow('untold a');
    expect(() => numberColumns(['moment'], numbers('a'), numbers('b'), untold)).toThrow('untold moment');
  });
});

/** `numbers`: of both sides' columns. */
function compare(
  before: TableStructure,
  after: TableStructure,
  of: { readonly before: ReadonlyMap<string, number>; readonly after: ReadonlyMap<string, number> },
  { added = NONE, isRewritten = false, gone = '' }: { added?: typeof NONE; isRewritten?: boolean; gone?: string } = {},
): ColumnChange[] {
  return compareStructures({ before, after, numbers: of, added, isRewritten, isGone: ({ name }) => name === gone });
}

function computed(name: string, expression: string, kind: 'stored' | 'virtual' = 'stored'): ColumnStructure {
  return makeColumn(name, 'int4', { generated: true, generation: { kind, expression } });
}

describe('compareStructures', () => {
  it('tells a rename by the number, also together with another type', () => {
    expect(
      compare(
        table(makeColumn('a', 'int4'), makeColumn('b', 'text')),
        table(makeColumn('c', 'int8'), makeColumn('b', 'text')),
        { before: numbers('a', 'b'), after: numbers('c', 'b') },
      ),
    ).toEqual([
      { kind: 'rename', column: 'a', to: 'c' },
      { kind: 'retype', column: 'c' },
    ]);
  });

  it('adds with the value that older rows have and the default of later ones', () => {
    expect(
      compare(
        table(makeColumn('a', 'text')),
        table(makeColumn('a', 'text'), makeColumn('b', 'text')),
        { before: numbers('a'), after: numbers('a', 'b') },
        { added: new Map([['b', { missing: '7', expression: 'random()' }]]) },
      ),
    ).toEqual([{ kind: 'add', column: 'b', fill: '7', expression: 'random()' }]);
  });

  it('drops before it renames to the same name, and a column made again under its name is another one', () => {
    const [a, b] = [makeColumn('a', 'text'), makeColumn('b', 'text')];
    const second = new Map([['a', 2]]);
    expect(compare(table(a, b), table(a), { before: numbers('a', 'b'), after: second })).toEqual([
      { kind: 'drop', column: 'a' },
      { kind: 'rename', column: 'b', to: 'a' },
    ]);
    expect(compare(table(a), table(a), { before: numbers('a'), after: second }).map(({ kind }) => kind)).toEqual([
      'drop',
      'add',
    ]);
  });

  it('tells a type under another name from another type', () => {
    const of = { before: numbers('m'), after: numbers('m') };
    const typed = (typeName: string): TableStructure => table(makeColumn('m', typeName, { typeSchema: 'public' }));
    expect(compare(typed('mood'), typed('humour'), of, { gone: 'mood' })).toEqual([
      { kind: 'retype', column: 'm', was: { schema: 'public', name: 'mood' } },
    ]);
    expect(compare(typed('mood'), typed('humour'), of)).toEqual([{ kind: 'retype', column: 'm' }]);
  });

  it('sees labels', () => {
    expect(
      compare(
        table(makeColumn('m', 'mood', { enumLabels: ['a'] })),
        table(makeColumn('m', 'mood', { enumLabels: ['a', 'b'] })),
        { before: numbers('m'), after: numbers('m') },
      ),
    ).toEqual([{ kind: 'retype', column: 'm' }]);
  });

  it('adds a generated column after what it is computed from, and drops it before', () => {
    const [a, b] = [makeColumn('a', 'int4'), makeColumn('b', 'int4')];
    const of = { before: numbers('a'), after: new Map([...numbers('a'), ['b', 3], ['g', 2]] as const) };
    const add = { kind: 'add', fill: null, expression: null };
    expect(compare(table(a), table(a, computed('g', '(b * 2)'), b), of)).toEqual([
      { ...add, column: 'b' },
      { ...add, column: 'g' },
    ]);
    expect(
      compare(table(a, b, computed('g', '(b * 2)')), table(a), {
        before: numbers('a', 'b', 'g'),
        after: numbers('a'),
      }),
    ).toEqual([
      { kind: 'drop', column: 'g' },
      { kind: 'drop', column: 'b' },
    ]);
  });

  it('tells a column that is computed no longer from one that is another, and frees it before what it was computed from goes', () => {
    const before = table(makeColumn('a', 'int4'), computed('g', '(a * 2)'));
    const after = table(makeColumn('g', 'int4'));
    const of = { before: numbers('a', 'g'), after: numbers(null, 'g') };
    expect(compare(before, after, of)).toEqual([
      { kind: 'retype', column: 'g' },
      { kind: 'drop', column: 'a' },
    ]);
    expect(compare(before, after, { ...of, after: numbers(null, null, 'g') }).map(({ kind }) => kind)).toEqual([
      'drop',
      'drop',
      'add',
    ]);
    // Versions that did not follow generated columns kept no numbers of them.
    expect(compare(before, after, { ...of, before: numbers('a') })[0]).toEqual({ kind: 'retype', column: 'g' });
  });

  it('sees another expression, but not one that only names its columns otherwise', () => {
    const of = { before: numbers('a', 'g'), after: numbers('o"k', 'g') };
    const before = table(makeColumn('a', 'int4'), computed('g', "(a * length('a'::text))", 'virtual'));
    const after = (expression: string): TableStructure =>
      table(makeColumn('o"k', 'int4'), computed('g', expression, 'virtual'));
    expect(compare(before, after(`("o""k" * length('a'::text))`), of).map(({ kind }) => kind)).toEqual(['rename']);
    // As it is kept where the catalog has it otherwise by now.
    expect(compare(before, after(`(a * length('a'::text))`), of).map(({ kind }) => kind)).toEqual(['rename']);
    expect(compare(before, after(`("o""k" * length('b'::text))`), of)).toEqual([
      { kind: 'rename', column: 'a', to: 'o"k' },
      { kind: 'retype', column: 'g' },
    ]);
  });

  it('takes another text of a stored expression for another expression only where the rows were computed anew', () => {
    const of = { before: numbers('g'), after: numbers('g') };
    const [before, after] = [table(computed('g', 'f(1)')), table(computed('g', 'h(1)'))];
    expect(compare(before, after, of)).toEqual([]);
    expect(compare(before, after, of, { isRewritten: true })).toEqual([{ kind: 'retype', column: 'g' }]);
  });
});
