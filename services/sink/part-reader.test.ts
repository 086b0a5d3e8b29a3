import { expect, test } from 'vitest';
import { LSN_ZERO } from '#core/lsn.ts';
import type { TableStructure } from '#core/structure.ts';
import { MemoryTopics, SCHEMAS_TOPIC, type TestChange } from '../../test/harness/memory-topics.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';
import { readPart } from './part-reader.ts';
import { StructureBook } from './structure-book.ts';

function withKey(table: string, ...more: string[]): TableStructure {
  const made = makeTable(
    'test',
    table,
    ['id', ...more].map((name) => makeColumn(name, 'int4')),
  );
  return { ...made, identity: { kind: 'primaryKey', columns: ['id'], isFull: false } };
}

const SPREAD = withKey('spread');
const WIDER = withKey('spread', 'more');
const OTHER = withKey('other');

const insert = (structure: TableStructure, id: number, partition: number): TestChange => {
  return { structure, commit: 100 + id, op: 'c', after: { id, more: 1 }, partition };
};

test('changes of a table come in the order of the source, whatever partitions they are in, also past a change of columns', async () => {
  const topics = new MemoryTopics('life');
  topics.stream(
    [
      insert(SPREAD, 1, 2),
      insert(OTHER, 2, 1),
      insert(SPREAD, 3, 0),
      // Its key changes, so it stands in another partition than the row did.
      { structure: SPREAD, commit: 104, op: 'u', before: { id: 3 }, after: { id: 4 }, partition: 2 },
      insert(WIDER, 5, 0),
      insert(WIDER, 6, 1),
      insert(OTHER, 7, 0),
    ],
    { announce: [SPREAD, WIDER, OTHER] },
  );
  const stored = await topics.reader.last();
  if (stored === null) throw new Error('nothing was written');
  const structures = new StructureBook(topics.reader, SCHEMAS_TOPIC, topics.structures());
  const { signal } = new AbortController();
  const part = await readPart(topics.reader, structures, () => LSN_ZERO, stored.manifest, signal);
  const found = part.groups.map(({ structure, changes }) => [
    `${structure.table} ${structure.columns.length}`,
    ...changes.map(({ kind, position }) => `${kind} ${position.commit}`),
  ]);
  expect(found).toEqual(
    expect.arrayContaining([
      ['other 1', 'insert 102', 'insert 107'],
      ['spread 1', 'insert 101', 'insert 103', 'update 104'],
      ['spread 2', 'insert 105', 'insert 106'],
    ]),
  );
  expect(found).toHaveLength(3);
});
