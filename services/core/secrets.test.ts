import { expect, test } from 'vitest';
import { hideSecrets } from '#core/secrets.ts';

test.each([
  ['at postgresql://me:p%40ss@h:5432/d, http://h:80/x@y', 'at postgresql://me:***@h:5432/d, http://h:80/x@y'],
  ['{"u":"postgres://u:pw@h/d"}', '{"u":"postgres://u:***@h/d"}'],
  ['{"u":"postgres://u:pw@h","v":"x@y"}', '{"u":"postgres://u:***@h","v":"x@y"}'],
  ['postgres://u:p@s:w@h/d', 'postgres://u:***@h/d'],
  [JSON.stringify({ url: `postgres://u:p"w'd@h/d` }), '{"url":"postgres://u:***@h/d"}'],
  ['postgres://h/d?user=u&password=pw&sslmode=require', 'postgres://h/d?user=u&password=***&sslmode=require'],
  [`host=h password='p w' user=u`, 'host=h password=*** user=u'],
  [
    JSON.stringify({ a: { b: { c: { sasl: { username: 'u', password: 'p"w' } } } } }),
    '{"a":{"b":{"c":{"sasl":{"username":"u","password":"***"}}}}}',
  ],
  [
    JSON.stringify({ text: JSON.stringify({ password: 'p"w', user: 'u' }) }),
    JSON.stringify({ text: '{"password":"***","user":"u"}' }),
  ],
  ['password authentication failed for user "u"', 'password authentication failed for user "u"'],
])('%s', (text, hidden) => {
  expect(hideSecrets(text)).toBe(hidden);
});
