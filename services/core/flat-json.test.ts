import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readFlatObject } from './flat-json.ts';

const cell = fc.oneof(fc.string({ unit: 'binary' }), fc.integer(), fc.boolean(), fc.constant(null));
const row = fc.oneof(fc.constant(null), fc.array(fc.tuple(fc.string(), cell)).map(Object.fromEntries));

describe('readFlatObject', () => {
  it('reads what JSON.parse does, and says where it ends', () => {
    fc.assert(
      fc.property(row, fc.string(), (value, after) => {
        const json = JSON.stringify(value);
        const read = readFlatObject(`ab${json}${after}`, 2);
        expect(read?.value).toEqual(JSON.parse(json));
        expect(read?.end).toBe(2 + json.length);
      }),
    );
  });

  it('keeps a column called __proto__', () => {
    const json = '{"__proto__":"x"}';
    expect(Object.keys(readFlatObject(json, 0)?.value ?? {})).toEqual(['__proto__']);
  });

  it.each(['{"a":{}}', '{"a":[1]}', '{ "a":1}', '{"a": 1}', '{"a":1', '{"a"}', '"a"', '{"a":1,}', ''])(
    'leaves %j to a parser',
    (json) => {
      expect(readFlatObject(json, 0)).toBeNull();
    },
  );
});
