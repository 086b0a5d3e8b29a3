import { expect, it } from 'vitest';
import { numberTables, type KeyEdge } from './key-order.ts';

const edge = (child: string, parent: string): KeyEdge => ({ child, parent });

it('puts parents before children, whatever order the keys come in', () => {
  const numbers = numberTables([edge('line', 'order'), edge('line', 'item'), edge('order', 'customer')]);
  const of = (table: string): number => numbers.get(table) ?? Number.NaN;
  expect(of('customer')).toBeLessThan(of('order'));
  expect(of('order')).toBeLessThan(of('line'));
  expect(of('item')).toBeLessThan(of('line'));
  expect(new Set(numbers.values()).size).toBe(4);
});

it('gives one number to the tables of a ring, and to no table beside it', () => {
  const numbers = numberTables([
    edge('a', 'b'),
    edge('b', 'c'),
    edge('c', 'a'),
    edge('above', 'a'),
    edge('c', 'below'),
    edge('self', 'self'),
  ]);
  const of = (table: string): number => numbers.get(table) ?? Number.NaN;
  expect(of('a')).toBe(of('b'));
  expect(of('b')).toBe(of('c'));
  expect(of('below')).toBeLessThan(of('a'));
  expect(of('above')).toBeGreaterThan(of('a'));
  expect(new Set(numbers.values()).size).toBe(4);
});

it('tells two rings that a key joins apart', () => {
  const numbers = numberTables([edge('a', 'b'), edge('b', 'a'), edge('b', 'c'), edge('c', 'd'), edge('d', 'c')]);
  expect(numbers.get('a')).toBe(numbers.get('b'));
  expect(numbers.get('c')).toBe(numbers.get('d'));
  expect(numbers.get('c')).toBeLessThan(numbers.get('a') ?? Number.NaN);
});
