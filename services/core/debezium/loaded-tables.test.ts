import { expect, test } from 'vitest';
import { LSN_ZERO, lsnOf } from '#core/lsn.ts';
import { LoadedTables } from './loaded-tables.ts';

test('what a snapshot has is spared', () => {
  const loaded = new LoadedTables();
  loaded.noteRows('a', 1, 10);
  loaded.noteEnd('a', 1, lsnOf(5n));
  expect(loaded.snapshotOf('a')).toBe(5n);
  expect(loaded.snapshotOf('unknown')).toBe(LSN_ZERO);
});

test('also of a table that was begun again before it had rows', () => {
  const loaded = new LoadedTables();
  loaded.noteRows('a', 1, 0);
  loaded.noteRows('a', 2, 10);
  loaded.noteEnd('a', 2, lsnOf(9n));
  expect(loaded.snapshotOf('a')).toBe(9n);
});

test('nothing is spared where rows of an earlier snapshot were written', () => {
  const loaded = new LoadedTables();
  loaded.noteRows('a', 1, 10);
  loaded.noteRows('a', 2, 10);
  loaded.noteEnd('a', 2, lsnOf(9n));
  expect(loaded.snapshotOf('a')).toBe(LSN_ZERO);
});
