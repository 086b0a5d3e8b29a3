import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { joinTexts, jsonParts, LONG_CHARACTERS, LongText } from './long-text.ts';

const parts = fc.array(fc.string({ unit: 'binary', maxLength: 12 }), { maxLength: 8 });

describe('LongText', () => {
  it('is cut into pieces of bounded length that give it back, with no character in two of them', () => {
    fc.assert(
      fc.property(parts, fc.integer({ min: 2, max: 9 }), (texts, most) => {
        const text = new LongText(texts);
        const pieces = text.pieces(most);
        expect(pieces.join('')).toBe(texts.join(''));
        expect(pieces.every((piece) => piece !== '' && piece.length <= most + 1)).toBe(true);
        // As bytes too: half a character would come back as another one.
        expect(Buffer.concat(pieces.map((piece) => Buffer.from(piece)))).toEqual(Buffer.from(texts.join('')));
      }),
    );
  });

  it('of strings alone is a string', () => {
    expect(joinTexts(['a', 'b'])).toBe('ab');
    expect(String(joinTexts(['a', new LongText(['b', 'c'])]))).toBe('abc');
  });
});

describe('jsonParts', () => {
  it('writes what JSON.stringify does, also where a piece ends', () => {
    const long = `${'x'.repeat(LONG_CHARACTERS - 1)}😀"\\\n${'y'.repeat(LONG_CHARACTERS)}`;
    expect(jsonParts(long).join('')).toBe(JSON.stringify(long));
    expect(jsonParts('').join('')).toBe('""');
  });
});
