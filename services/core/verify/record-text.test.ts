import { expect, test } from 'vitest';
import { recordMd5, recordText } from '#core/verify/record-text.ts';

test('a record is printed as PostgreSQL prints it', () => {
  expect(recordText(['a', null, '', 'b c', '1,2', '"\\'])).toBe('(a,,"","b c","1,2","""\\\\")');
  expect(recordText([null])).toBe('()');
  // SELECT md5(ROW(1, 'x y')::text)
  expect(recordMd5(['1', 'x y'])).toBe('4ccb3a056f942e0b72152dc5a53faae0');
});
