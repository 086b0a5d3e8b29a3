import { expect, test } from 'vitest';
import { orderViews } from './view-order.ts';

test('each view after those that it is made of, and none that comes from other tables', () => {
  const uses = [
    { view: 'top', used: 'middle' },
    { view: 'top', used: 'other' },
    { view: 'middle', used: 'bottom' },
    { view: 'bottom', used: 'table' },
    { view: 'stranger', used: 'elsewhere' },
  ];
  expect(orderViews(uses, new Set(['table']))).toEqual(['bottom', 'middle', 'top']);
  expect(orderViews(uses, new Set())).toEqual([]);
});
