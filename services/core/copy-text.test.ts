import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CopyTextSplitter, readTexts } from '#core/copy-text.ts';

describe('CopyTextSplitter', () => {
  it('reads NULL, escapes and empty fields', () => {
    const splitter = new CopyTextSplitter(readTexts);
    expect(splitter.split(Buffer.from('1\t\\N\t\ta\\tb\\nc\\\\\n'))).toEqual([['1', null, '', 'a\tb\nc\\']]);
    expect(splitter.pending).toBe(0);
  });

  it('gives every row back, however the bytes are cut', () => {
    const field = fc.option(
      fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\0', '')),
      { nil: null },
    );
    const rows = fc.array(fc.array(field, { minLength: 2, maxLength: 2 }), { maxLength: 8 });
    fc.assert(
      fc.property(rows, fc.integer({ min: 1, max: 7 }), (expected, step) => {
        const bytes = Buffer.from(expected.map((row) => `${row.map(writeField).join('\t')}\n`).join(''));
        const splitter = new CopyTextSplitter(readTexts);
        const seen = [];
        for (let at = 0; at < bytes.length; at += step) seen.push(...splitter.split(bytes.subarray(at, at + step)));
        expect(seen).toEqual(
          expected.map((row) => row.map((value) => (value === null ? null : Buffer.from(value).toString()))),
        );
      }),
    );
  });
});

function writeField(value: string | null): string {
  if (value === null) return '\\N';
  const escapes: Record<string, string> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };
  return value.replaceAll(/[\\\t\n\r]/g, (character) => escapes[character] ?? character);
}
