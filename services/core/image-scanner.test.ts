import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cellText, type Row } from '#core/envelope.ts';
import { EventEncoder } from '#core/event-encoder.ts';
import { transactionFacts } from '#core/event-tail.ts';
import { ImageScanner, type ScannedImage } from '#core/image-scanner.ts';
import type { Text } from '#core/long-text.ts';
import { lsnOf } from '#core/lsn.ts';
import type { ByteRange } from '#core/record.ts';
import type { RowImage } from '#core/row-image.ts';
import type { ColumnStructure, JsonForm, TableStructure } from '#core/structure.ts';
import { UNCHANGED, type TupleValue } from '#core/tuple.ts';

const FORMS: readonly JsonForm[] = ['integer', 'boolean', 'text'];
const FACTS = transactionFacts(lsnOf(0x16b374d848n), 501, 1_700_000_000_123_456n);
const EVENT = { lsn: lsnOf(97n), ordinal: 3, tableOrdinal: 2, processedMs: 1_700_000_000_123 };

const form = fc.constantFrom(...FORMS);
const name = fc.oneof(
  fc.constantFrom('__proto__', 'source', 'op', 'a,"b', ',"source":{', 'c\\'),
  fc.string({ unit: 'grapheme', maxLength: 6 }),
);
const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 8 }),
  fc.constantFrom(
    '"',
    '\\',
    '\\"',
    ',"source":{',
    '"op":"u"',
    '\n',
    'null',
    'true',
    '{}',
    '\ud83d\ude00',
    '\ud83d',
    '\u0000',
  ),
  // The longer one is more than what is made one text of.
  fc
    .tuple(fc.constantFrom(100, 5000), fc.string({ unit: 'binary', maxLength: 3 }))
    .map(([length, end]) => 'x'.repeat(length) + end),
);

describe('ImageScanner', () => {
  it('reads what EventEncoder writes, as a parser of JSON reads it', () => {
    const columns = fc.uniqueArray(fc.tuple(name, form), { minLength: 1, maxLength: 6, selector: ([of]) => of });
    fc.assert(
      fc.property(columns, fc.array(text, { maxLength: 30 }), fc.nat(), (list, texts, seed) => {
        const structure = structureOf(list);
        const encoder = new EventEncoder(structure, structure.columns, 'shop', 'db', '0.1.0');
        const tuple = (from: number): TupleValue[] =>
          list.map(([, of], index) =>
            valueOf(of, texts[(from + index) % Math.max(1, texts.length)] ?? '', seed + from + index),
          );
        const [before, after] = [encoder.row(tuple(0)), encoder.row(tuple(7))];
        const value = String(encoder.change('u', seed % 2 === 0 ? before : 'null', after, FACTS, EVENT));
        const scanned = new ImageScanner(structure).scan(among(value));
        const parsed = JSON.parse(Buffer.from(value).toString()) as { before: Row | null; after: Row };
        expect(scanned?.op).toBe('u');
        expect(entriesOf(scanned?.after ?? null)).toEqual(textsOf(parsed.after));
        expect(entriesOf(scanned?.before ?? null)).toEqual(textsOf(parsed.before));
      }),
      { numRuns: 1000 },
    );
  });

  it('reads nothing that a parser of JSON reads otherwise, whatever byte of it is another', () => {
    const structure = structureOf([
      ['id', 'integer'],
      ['a"', 'text'],
      ['b', 'boolean'],
    ]);
    const encoder = new EventEncoder(structure, structure.columns, 'shop', 'db', '0.1.0');
    fc.assert(
      fc.property(text, text, fc.nat(), fc.nat(255), (before, after, at, byte) => {
        const images = [encoder.row(['7', before, 't']), encoder.row(['-1', after, null])] as const;
        const value = Buffer.from(String(encoder.change('u', ...images, FACTS, EVENT)));
        const end = value.indexOf(',"source":{"version"');
        value[at % end] = byte;
        const scanned = new ImageScanner(structure).scan(among(value));
        if (scanned === null) return;
        const parsed = JSON.parse(`${value.toString('utf8', 0, end)}}`) as { before: Row | null; after: Row | null };
        expect(entriesOf(scanned.after)).toEqual(textsOf(parsed.after));
        expect(entriesOf(scanned.before)).toEqual(textsOf(parsed.before));
      }),
      { numRuns: 5000 },
    );
  });

  it('tells the identity without reading the row, and nothing where it is not whole', () => {
    const structure = structureOf([
      ['id', 'text'],
      ['a', 'text'],
    ]);
    const encoder = new EventEncoder(structure, structure.columns, 'shop', 'db', '0.1.0');
    const scan = (row: readonly TupleValue[]): ScannedImage | null =>
      new ImageScanner(structure).scan(among(encoder.change('c', 'null', encoder.row(row), FACTS, EVENT)))?.after ??
      null;
    expect(scan(['"\u00e9"', 'x'])?.identity?.texts).toEqual(['"\u00e9"']);
    expect(scan([UNCHANGED, 'x'])?.identity).toBeNull();
    expect(scan([UNCHANGED, 'x'])?.get('id')).toBeUndefined();
    expect(scan([null, 'x'])?.get('id')).toBeNull();
  });

  it.each([
    ['other columns', (value: string) => value.replace('"id"', '"no"')],
    ['spaces', (value: string) => value.replace('"id":', '"id": ')],
    ['another order', (value: string) => value.replace('"id":1,"a":"x"', '"a":"x","id":1')],
    ['a value that is an object', (value: string) => value.replace('"a":"x"', '"a":{"x":1}')],
    ['a number that is none of ours', (value: string) => value.replace('"id":1', '"id":1.5')],
    ['zero with a sign', (value: string) => value.replace('"id":1', '"id":-0')],
    ['a cut end', (value: string) => value.slice(0, -20)],
    ['no tail', (value: string) => value.slice(0, value.indexOf(',"source"'))],
    ['nothing', () => ''],
  ])('leaves to a parser what has %s', (_what, change) => {
    const structure = structureOf([
      ['id', 'integer'],
      ['a', 'text'],
    ]);
    const encoder = new EventEncoder(structure, structure.columns, 'shop', 'db', '0.1.0');
    const value = String(encoder.change('c', 'null', encoder.row(['1', 'x']), FACTS, EVENT));
    expect(new ImageScanner(structure).scan(among(value))?.after?.texts).toEqual(['1', 'x']);
    expect(new ImageScanner(structure).scan(among(change(value)))).toBeNull();
  });
});

function valueOf(of: JsonForm, plain: string, seed: number): TupleValue {
  if (seed % 5 === 0) return null;
  if (seed % 7 === 0) return UNCHANGED;
  if (of === 'integer') return String((seed % 4_294_967_296) - 2_147_483_648);
  return of === 'boolean' ? (seed % 2 === 0 ? 't' : 'f') : plain;
}

function entriesOf(image: RowImage | null): [string, string | null][] | null {
  return image === null ? null : [...image];
}

/** Not by Object.entries: numbers as names come first there. */
function textsOf(row: Row | null): unknown {
  if (row === null) return null;
  const texts = Object.entries(row).map(([of, cell]) => [of, cellText(cell)]);
  return expect.arrayContaining(texts);
}

function structureOf(list: readonly (readonly [string, JsonForm])[]): TableStructure {
  const columns = list.map(([of, json]): ColumnStructure => ({
    name: of,
    type: json,
    typeSchema: 'pg_catalog',
    typeName: json,
    modifiers: '',
    json,
    notNull: false,
    generated: false,
    identity: '',
    enumLabels: null,
  }));
  const [first] = list;
  const identity = { kind: 'primaryKey', columns: [first?.[0] ?? ''], isFull: false } as const;
  return {
    schema: 'public',
    table: 't',
    topic: 'shop.public.t',
    columns,
    identity,
    primaryKey: identity.columns,
    uniques: [],
  };
}

/** Somewhere in a batch, where bytes of other records stand on both sides. */
function among(value: Text | Buffer): ByteRange {
  const around = Buffer.from('{"before":null,"after":{"id":7}');
  const bytes = Buffer.concat([around, Buffer.isBuffer(value) ? value : Buffer.from(String(value)), around]);
  return { bytes, from: around.length, end: bytes.length - around.length };
}
