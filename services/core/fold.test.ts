import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Image, RowChange } from '#core/change.ts';
import { foldChanges } from '#core/fold.ts';
import { LSN_ZERO } from '#core/lsn.ts';

const position = { commit: LSN_ZERO, ordinal: 1 };
type Table = Map<string, Map<string, string | null>>;
type Step = {
  readonly do: 'insert' | 'update' | 'delete' | 'move';
  readonly id: string;
  readonly to: string;
  readonly a: string;
  readonly keepsBig: boolean;
};

describe('foldChanges', () => {
  it('keeps an inserted value through an update that does not send it', () => {
    const changes: RowChange[] = [
      { kind: 'insert', position, after: image({ id: '1', big: 'X' }) },
      { kind: 'update', position, key: image({ id: '1' }), before: null, after: image({ id: '2', a: 'b' }) },
    ];
    expect(foldChanges(changes, ['id']).inserts).toEqual([image({ id: '2', big: 'X', a: 'b' })]);
  });

  it('cancels what is inserted and deleted', () => {
    const changes: RowChange[] = [
      { kind: 'insert', position, after: image({ id: '1' }) },
      { kind: 'delete', position, key: image({ id: '1' }), before: null },
    ];
    expect(foldChanges(changes, ['id'])).toEqual({ deletes: [], renames: [], updates: [], inserts: [] });
  });

  it('ends where the changes one by one end', () => {
    const id = fc.constantFrom('1', '2', '3', '4');
    const step: fc.Arbitrary<Step> = fc.record({
      do: fc.constantFrom('insert', 'update', 'delete', 'move'),
      id,
      to: id,
      a: fc.string({ maxLength: 3 }),
      keepsBig: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(id, { maxLength: 4 }), fc.array(step, { maxLength: 30 }), (present, steps) => {
        const start: Table = new Map(
          present.map((key) => [
            key,
            new Map([
              ['id', key],
              ['a', 'old'],
              ['big', `big ${key}`],
            ]),
          ]),
        );
        const expected = copy(start);
        const changes = steps.flatMap((one) => play(expected, one));
        expect(sorted(applyFolded(copy(start), foldChanges(changes, ['id'])))).toEqual(sorted(expected));
      }),
      { numRuns: 2000 },
    );
  });
});

/** What a source would send for this step, if it can happen at all. */
function play(table: Table, step: Step): RowChange[] {
  const row = table.get(step.id);
  if (step.do === 'insert') {
    if (row !== undefined) return [];
    const after = new Map([
      ['id', step.id],
      ['a', step.a],
      ['big', 'new'],
    ]);
    table.set(step.id, after);
    return [{ kind: 'insert', position, after: new Map(after) }];
  }
  if (row === undefined) return [];
  const key = image({ id: step.id });
  table.delete(step.id);
  if (step.do === 'delete') return [{ kind: 'delete', position, key, before: null }];
  const target = step.do === 'move' && !table.has(step.to) ? step.to : step.id;
  row.set('id', target).set('a', step.a);
  const after = new Map([
    ['id', target],
    ['a', step.a],
  ]);
  if (!step.keepsBig) {
    row.set('big', step.a);
    after.set('big', step.a);
  }
  table.set(target, row);
  return [{ kind: 'update', position, key, before: null, after }];
}

function applyFolded(table: Table, folded: ReturnType<typeof foldChanges>): Table {
  for (const key of folded.deletes) expect(table.delete(String(key.get('id')))).toBe(true);
  const moved = folded.renames.map(({ key, set }) => {
    const row = table.get(String(key.get('id')));
    expect(row).toBeDefined();
    table.delete(String(key.get('id')));
    return new Map([...(row ?? []), ...set]);
  });
  for (const { key, set } of folded.updates) {
    const row = table.get(String(key.get('id')));
    expect(row).toBeDefined();
    for (const [column, value] of set) row?.set(column, value);
  }
  for (const row of [...moved, ...folded.inserts]) {
    expect(table.has(String(row.get('id')))).toBe(false);
    table.set(String(row.get('id')), new Map(row));
  }
  return table;
}

function image(columns: Record<string, string>): Image {
  return new Map(Object.entries(columns));
}

function copy(table: Table): Table {
  return new Map([...table].map(([key, row]) => [key, new Map(row)]));
}

/** Order does not matter; text sorts the same on both sides. */
function sorted(table: Table): string[] {
  return [...table]
    .map(([key, row]) => JSON.stringify([key, [...row].map(String).toSorted((a, b) => a.localeCompare(b))]))
    .toSorted((a, b) => a.localeCompare(b));
}
