import { expect, test } from 'vitest';
import { CHECKLIST, formatChecklist } from './checklist.ts';
import { CHECKS } from './check-command.ts';

test('the checklist is whole: its numbers go up by one, and each item names checks that there are', () => {
  expect(CHECKLIST.map(({ number }) => number)).toEqual(CHECKLIST.map((_, index) => index + 1));
  const known = new Set(CHECKS.map(({ id }) => id));
  expect(CHECKLIST.filter(({ checks }) => checks.length === 0)).toEqual([]);
  expect(CHECKLIST.flatMap(({ checks }) => checks).filter((id) => !known.has(id))).toEqual([]);
  expect(formatChecklist().split('\n')).toHaveLength(CHECKLIST.length + 1);
});

test('every check has an id of its own', () => {
  const ids = CHECKS.map(({ id }) => id);
  expect(ids.filter((id, index) => ids.indexOf(id) !== index)).toEqual([]);
});
