import { expect, test } from 'vitest';
import { isAfter } from './xid.ts';

test('isAfter goes around with the numbers of transactions', () => {
  expect(isAfter(5, 4_294_967_290)).toBe(true);
  expect(isAfter(4_294_967_290, 5)).toBe(false);
  expect(isAfter(7, 7)).toBe(false);
  expect(isAfter(2, 4_294_967_290)).toBe(false);
});
