import { describe, expect, it } from 'vitest';
import type { Image, RowChange } from './change.ts';
import { heldSlots, heldTableSlots, neededSlots, neededTableSlots, type KeyLink, type SlotTable } from './key-slots.ts';
import { lsnOf } from './lsn.ts';

type Cells = Record<string, string | null>;

const parent: SlotTable = { schema: 'public', table: 'parent', identity: ['id'], isExact: true };
const child: SlotTable = { schema: 'public', table: 'child', identity: ['id'], isExact: true };
const loose: SlotTable = { schema: 'public', table: 'loose', identity: ['id'], isExact: false };
const keyless: SlotTable = { schema: 'public', table: 'keyless', identity: ['a', 'b'], isExact: true };
const byId: KeyLink = { child, childColumns: ['parent'], parent, parentColumns: ['id'], isExact: true };
const byCode: KeyLink = { child, childColumns: ['code'], parent, parentColumns: ['code'], isExact: true };
const LINKS = [byId, byCode];

const position = { commit: lsnOf(1n), ordinal: 1 };
const image = (cells: Cells): Image => new Map(Object.entries(cells));
const insert = (after: Cells): RowChange => ({ kind: 'insert', position, after: image(after) });
const update = (key: Cells, after: Cells, before: Cells | null = null): RowChange => ({
  kind: 'update',
  position,
  key: image(key),
  before: before === null ? null : image(before),
  after: image(after),
});
const remove = (key: Cells, before: Cells | null = null): RowChange => ({
  kind: 'delete',
  position,
  key: image(key),
  before: before === null ? null : image(before),
});

type At = readonly [SlotTable, RowChange];

/** Whether the second waits where the first is held. */
function waits([heldIn, first]: At, [neededIn, second]: At): boolean {
  const held = new Set(heldSlots(first, heldIn, LINKS));
  return neededSlots(second, neededIn, LINKS).some((slot) => held.has(slot));
}

describe('a later change waits', () => {
  it.each<readonly [string, At, At]>([
    ['of the same row', [parent, insert({ id: '1' })], [parent, update({ id: '1' }, { id: '1', n: '2' })]],
    ['of the row under its new key', [parent, update({ id: '1' }, { id: '2' })], [parent, remove({ id: '2' })]],
    ['that gives the old key again', [parent, update({ id: '1' }, { id: '2' })], [parent, insert({ id: '1' })]],
    [
      'of a child whose parent is missing',
      [parent, insert({ id: '1', code: 'a' })],
      [child, insert({ id: '9', parent: '1', code: null })],
    ],
    [
      'of a child by another key of the parent',
      [parent, insert({ id: '1', code: 'a' })],
      [child, insert({ id: '9', parent: null, code: 'a' })],
    ],
    [
      'of a child that is led there',
      [parent, insert({ id: '1', code: 'a' })],
      [child, update({ id: '9' }, { id: '9', parent: '1' })],
    ],
    [
      'of a child whose parent gets its key',
      [parent, update({ id: '1' }, { id: '2' })],
      [child, insert({ id: '9', parent: '2' })],
    ],
    [
      'that takes the parent from a child',
      [child, insert({ id: '9', parent: '1', code: null })],
      [parent, remove({ id: '1' })],
    ],
    [
      'that takes the parent, where the event does not say whose',
      [child, remove({ id: '9' })],
      [parent, remove({ id: '1' })],
    ],
    [
      'that takes the parent, where its old code is not known',
      [child, insert({ id: '9', parent: null, code: 'a' })],
      [parent, remove({ id: '7' })],
    ],
    ['of any row, where equal keys have several texts', [loose, insert({ id: '1.0' })], [loose, remove({ id: '2.0' })]],
    [
      'of an equal row without a key',
      [keyless, insert({ a: '1', b: null })],
      [keyless, remove({}, { a: '1', b: null })],
    ],
    [
      'of what a row without a key becomes',
      [keyless, update({}, { b: '3' }, { a: '1', b: '2' })],
      [keyless, remove({}, { a: '1', b: '3' })],
    ],
  ])('%s', (_, held, later) => {
    expect(waits(held, later)).toBe(true);
  });
});

describe('a later change does not wait', () => {
  it.each<readonly [string, At, At]>([
    ['of another row', [parent, insert({ id: '1' })], [parent, insert({ id: '2' })]],
    [
      'of a child of another parent',
      [parent, insert({ id: '1', code: 'a' })],
      [child, insert({ id: '9', parent: '2', code: 'b' })],
    ],
    [
      'of a child without a parent',
      [parent, insert({ id: '1', code: null })],
      [child, insert({ id: '9', parent: null, code: null })],
    ],
    [
      'of a child, where the parent is there and only another value of it waits',
      [parent, update({ id: '1' }, { id: '1', n: '2' })],
      [child, insert({ id: '9', parent: '1', code: null })],
    ],
    [
      'of another child of the same parent',
      [child, insert({ id: '9', parent: '1', code: null })],
      [child, insert({ id: '8', parent: '1', code: null })],
    ],
    [
      'of a parent whose key stays',
      [child, insert({ id: '9', parent: '1', code: null })],
      [parent, update({ id: '1' }, { id: '1', n: '2' })],
    ],
    ['of another row without a key', [keyless, insert({ a: '1', b: null })], [keyless, remove({}, { a: '1', b: '2' })]],
  ])('%s', (_, held, later) => {
    expect(waits(held, later)).toBe(false);
  });
});

describe('a TRUNCATE', () => {
  const needs = (table: SlotTable): Set<string> => new Set(neededTableSlots(table, LINKS));

  it('waits for any row of its table that waits, and for children that refer to it', () => {
    for (const [table, change] of [
      [parent, insert({ id: '1' })],
      [child, insert({ id: '9', parent: '1', code: null })],
    ] as const)
      expect(heldSlots(change, table, LINKS).some((slot) => needs(parent).has(slot))).toBe(true);
    expect(heldSlots(insert({ id: '1' }), loose, LINKS).some((slot) => needs(parent).has(slot))).toBe(false);
  });

  it('makes every later row of its table wait', () => {
    const held = new Set(heldTableSlots(parent, null, LINKS));
    expect(neededSlots(insert({ id: '5' }), parent, LINKS).some((slot) => held.has(slot))).toBe(true);
    expect(neededSlots(insert({ id: '5' }), loose, LINKS).some((slot) => held.has(slot))).toBe(false);
  });
});
