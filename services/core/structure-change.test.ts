import { describe, expect, it } from 'vitest';
import { compareStructures, numberColumns, type AddedColumn } from '#core/structure-change.ts';
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

describe('compareStructures', () => {
  it('tells a rename by the number, also together with another type', () => {
    expect(
      compareStructures(
        table(makeColumn('a', 'int4'), makeColumn('b', 'text')),
        table(makeColumn('c', 'int8'), makeColumn('b', 'text')),
        { before: numbers('a', 'b'), after: numbers('c', 'b') },
        NONE,
      ),
    ).toEqual([
      { kind: 'rename', column: 'a', to: 'c' },
      { kind: 'retype', column: 'c' },
    ]);
  });

  it('adds with the value that older rows have and the default of later ones', () => {
    expect(
      compareStructures(
        table(makeColumn('a', 'text')),
        table(makeColumn('a', 'text'), makeColumn('b', 'text')),
        { before: numbers('a'), after: numbers('a', 'b') },
        new Map([['b', { missing: '7', expression: 'random()' }]]),
      ),
    ).toEqual([{ kind: 'add', column: 'b', fill: '7', expression: 'random()' }]);
  });

  it('drops before it renames to the same name, and a column made again under its name is another one', () => {
    expect(
      compareStructures(
        table(makeColumn('a', 'text'), makeColumn('b', 'text')),
        table(makeColumn('a', 'text')),
        { before: numbers('a', 'b'), after: new Map([['a', 2]]) },
        NONE,
      ),
    ).toEqual([
      { kind: 'drop', column: 'a' },
      { kind: 'rename', column: 'b', to: 'a' },
    ]);
    expect(
      compareStructures(
        table(makeColumn('a', 'text')),
        table(makeColumn('a', 'text')),
        { before: numbers('a'), after: new Map([['a', 2]]) },
        NONE,
      ).map(({ kind }) => kind),
    ).toEqual(['drop', 'add']);
  });

  it('sees labels, and leaves generated columns alone', () => {
    expect(
      compareStructures(
        table(makeColumn('m', 'mood', { enumLabels: ['a'] }), makeColumn('g', 'int4', { generated: true })),
        table(makeColumn('m', 'mood', { enumLabels: ['a', 'b'] })),
        { before: numbers('m'), after: numbers('m') },
        NONE,
      ),
    ).toEqual([{ kind: 'retype', column: 'm' }]);
  });
});
