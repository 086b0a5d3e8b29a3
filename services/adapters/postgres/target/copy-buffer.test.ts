import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CopyTextSplitter, readTexts } from '#core/copy-text.ts';
import { scannerOf } from '#core/image-scanner.ts';
import { makeColumn, makeTable } from '../../../../test/harness/structures.ts';
import { CopyBuffer } from './copy-buffer.ts';

const TABLE = makeTable('test', 'copied', [
  makeColumn('id', 'int4'),
  makeColumn('is', 'bool', { json: 'boolean' }),
  makeColumn('a', 'text'),
  makeColumn('b', 'text'),
]);

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 8 }),
  fc.constantFrom(
    '',
    '\\',
    '\\N',
    '\\.',
    '\t',
    '\n',
    '\r\n',
    '"',
    '\u0001\u001f',
    '\u007f',
    '\ud83d\ude00',
    'é'.repeat(40_000),
  ),
  fc.constant(null),
);

test('a row is the same whether its bytes or its texts are written, and COPY reads back what it was', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer(), fc.boolean(), text, text), { maxLength: 5 }), (rows) => {
      const [fromBytes, fromTexts] = [new CopyBuffer(), new CopyBuffer()];
      const texts = rows.map(([id, is, a, b]) => [String(id), is ? 't' : 'f', a, b]);
      for (const [id, is, a, b] of rows) {
        const row = JSON.stringify({ id, is, a, b });
        const bytes = Buffer.from(`{"before":null,"after":${row},"source":{},"op":"r",${' '.repeat(60)}}`);
        const image = scannerOf(TABLE).scan({ bytes, from: 0, end: bytes.length })?.after ?? null;
        if (image === null) throw new Error(`not read: ${row}`);
        expect(fromBytes.addImage(image)).toBe(true);
        expect(image.texts).toEqual([String(id), is ? 't' : 'f', a, b]);
        expect(fromBytes.addImage(image)).toBe(false);
      }
      for (const row of texts) fromTexts.add(row);
      const written = fromBytes.take();
      expect(written.equals(fromTexts.take())).toBe(true);
      expect(new CopyTextSplitter(readTexts).split(written)).toEqual(texts);
      expect(fromBytes.isEmpty).toBe(true);
    }),
    { numRuns: 500 },
  );
});
