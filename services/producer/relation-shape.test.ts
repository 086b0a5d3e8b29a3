import { expect, test } from 'vitest';
import type { Relation } from '#adapters/postgres/source/pgoutput-message.ts';
import type { RowIdentity, TableStructure } from '#core/structure.ts';
import { makeColumn, makeTable } from '../../test/harness/structures.ts';
import { makeShape } from './relation-shape.ts';

const ID = makeColumn('id', 'int4');
const A = makeColumn('a', 'int4');
const BY_ID: RowIdentity = { kind: 'primaryKey', columns: ['id'], isFull: false };
const BY_A: RowIdentity = { kind: 'primaryKey', columns: ['a'], isFull: false };
const FULL: RowIdentity = { kind: 'full', columns: [], isFull: true };
const NOTHING: RowIdentity = { kind: 'nothing', columns: [], isFull: false };

function table(identity: RowIdentity, columns = [ID, A]): TableStructure {
  return { ...makeTable('p', 't', columns), identity, primaryKey: identity.columns };
}

function relation(replicaIdentity: Relation['replicaIdentity'], ...keys: readonly string[]): Relation {
  const columns = ['id', 'a'].map((name) => ({ name, isKey: keys.includes(name), typeOid: 23, typeModifier: -1 }));
  return { oid: 1, schema: 'public', table: 't', replicaIdentity, columns };
}

function shape(sent: Relation, before: TableStructure, now: TableStructure | null): TableStructure {
  return makeShape(sent, { schema: 'public', table: 't' }, [ID, A], { before, now, computed: new Map() });
}

test.each([
  ['its key was dropped', relation('d', 'id'), BY_ID, NOTHING],
  ['its rows are named whole', relation('d', 'id'), BY_ID, FULL],
  ['another column is its key', relation('d', 'id'), BY_ID, BY_A],
  ['it has a key again', relation('f', 'id', 'a'), FULL, BY_ID],
])('events from before the catalog name rows as they did: %s since', (_, sent, before, now) => {
  expect(shape(sent, table(before), table(now))).toEqual(table(before));
});

test.each([
  ['by a key', relation('d', 'a'), BY_ID, BY_A],
  ['whole', relation('f', 'id', 'a'), BY_ID, FULL],
  ['by nothing', relation('n'), BY_ID, NOTHING],
])('what the catalog and the message both say counts: %s', (_, sent, before, now) => {
  expect(shape(sent, table(before), table(now))).toEqual(table(now));
});

test('where neither says what the message does, the catalog counts', () => {
  expect(shape(relation('d', 'a'), table(BY_ID), table(FULL)).identity).toEqual(FULL);
});

test('beside a virtual column FULL names no row', () => {
  const virtual = makeColumn('v', 'int4', { generated: true, generation: { kind: 'virtual', expression: 'a' } });
  const now = table(NOTHING, [ID, A, virtual]);
  expect(shape(relation('f', 'id', 'a'), table(FULL), now).identity).toEqual(NOTHING);
});
