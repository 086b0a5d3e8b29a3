import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CopyTextSplitter, readTexts } from '#core/copy-text.ts';
import { CopyTuples } from '#core/copy-tuples.ts';
import { textsOf, WireTuple } from '#core/tuple.ts';

/** A field as COPY may write it: any bytes but those that end one, escapes, NULL, and what only looks like it. */
const field = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }).map((text) => text.replaceAll(/[\t\n\r\\]/g, '')),
  fc.constantFrom('\\N', '\\\\N', '\\N\\N', '\\tN', '', '\\b\\f\\n\\r\\t\\v', '\\\\', '\\"', '\u{1f600}\\\\'),
  fc.constantFrom(50, 20_000).map((length) => 'x'.repeat(length)),
);

describe('CopyTuples', () => {
  it('says what the line says as texts', () => {
    const lines = fc
      .integer({ min: 1, max: 6 })
      .chain((columns) => fc.array(fc.array(field, { minLength: columns, maxLength: columns }), { minLength: 1 }));
    fc.assert(
      fc.property(lines, (rows) => {
        const bytes = Buffer.from(rows.map((row) => `${row.join('\t')}\n`).join(''));
        const tuples = new CopyTuples(rows[0]?.length ?? 0);
        const read = new CopyTextSplitter((data, from, end) => tuples.read(data, from, end)).split(bytes);
        const texts = new CopyTextSplitter(readTexts).split(bytes);
        // Only when all are read: no row gives up the one before.
        expect(read.map(textsOf)).toEqual(texts);
      }),
      { numRuns: 300 },
    );
  });

  it('makes bytes of a row, and texts of one that is large', () => {
    const tuples = new CopyTuples(2);
    const read = (line: string): unknown => tuples.read(Buffer.from(line), 0, Buffer.byteLength(line));
    expect(read('7\tx')).toBeInstanceOf(WireTuple);
    expect(read(`7\t${'x'.repeat(50_000)}`)).toEqual(['7', 'x'.repeat(50_000)]);
  });

  it('gives a row of no columns no value', () => {
    expect(textsOf(new CopyTuples(0).read(Buffer.from(''), 0, 0))).toEqual([]);
  });

  it.each(['1', '1\t2\t3'])('refuses a line that has another number of values: %j', (line) => {
    expect(() => new CopyTuples(2).read(Buffer.from(line), 0, line.length)).toThrow('has not 2 values');
  });
});
