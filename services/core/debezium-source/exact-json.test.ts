import { expect, test } from 'vitest';
import { JsonNumber, parseExactJson, type Json } from './exact-json.ts';

/** As JSON.parse gives it, but for numbers, whose text it is. */
function plain(json: Json): unknown {
  if (json instanceof JsonNumber) return json.text;
  if (json instanceof Map)
    return Object.fromEntries([...json].map(([key, value]: [string, Json]) => [key, plain(value)]));
  return Array.isArray(json) ? json.map((item: Json) => plain(item)) : json;
}

test('numbers keep every digit', () => {
  const digits = [
    '9007199254740993',
    '-9223372036854775808',
    '0.1000000000000000055',
    '1e-7',
    '-0',
    '12345678901234567890.50',
  ];
  for (const text of digits) expect(plain(parseExactJson(` [${text}] `)), text).toEqual([text]);
});

test('reads what JSON.parse reads', () => {
  const texts = [
    '{"a":{"b":[true,false,null,"\\u00e9\\n\\"\\\\/"]},"__proto__":"x"}',
    '[]',
    '{}',
    '" \\ud83d\\ude00 "',
    '[[],[{}]]',
  ];
  for (const text of texts) expect(JSON.stringify(plain(parseExactJson(text)))).toBe(JSON.stringify(JSON.parse(text)));
});

test.each([
  '',
  '{',
  '[1,]',
  '{"a"}',
  '{"a":1,}',
  '01',
  '1.',
  '.5',
  '+1',
  'nul',
  '"\u0001"',
  '"\\x"',
  '"\\u12g4"',
  '"a',
  '[1] 2',
  '{1:2}',
])('refuses %j', (text) => {
  expect(() => parseExactJson(text)).toThrow(SyntaxError);
});

test('nesting a million deep is refused, not a full stack', () => {
  expect(() => parseExactJson('['.repeat(1_000_000))).toThrow('nested deeper than 200');
  expect(() => parseExactJson('{"a":'.repeat(1_000_000))).toThrow('nested deeper than 200');
});
