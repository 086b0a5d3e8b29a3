import { expect, test } from 'vitest';
import { hideUrlPasswords } from './logger.ts';

test('passwords inside URLs are hidden, the rest stays', () => {
  expect(hideUrlPasswords('at postgresql://me:p%40ss@h:5432/d, http://h:80/x@y')).toBe(
    'at postgresql://me:***@h:5432/d, http://h:80/x@y',
  );
  expect(hideUrlPasswords('{"u":"postgres://u:pw@h/d"}')).toBe('{"u":"postgres://u:***@h/d"}');
});
