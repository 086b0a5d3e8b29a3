import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Image } from '#core/change.ts';
import { ScannedImage, scannerOf } from '#core/image-scanner.ts';
import { LONG_CHARACTERS, LongText } from '#core/long-text.ts';
import { makeColumn, makeTable } from '../../../../test/harness/structures.ts';
import { bindMessage } from './bind-message.ts';
import { arraysOf } from './row-arrays.ts';

const NAMES = ['id', 'a', 'b', 'c'];
const TABLE = makeTable(
  'shop',
  't',
  NAMES.map((name) => makeColumn(name, 'text')),
);

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 8 }),
  fc.constantFrom('', 'NULL', 'null', '"', '\\', '\\"', '{,}', ' a ', '\n\t\u0001', '\ud83d\ude00é', 'x'.repeat(300)),
);
const cell = fc.oneof(text, fc.integer(), fc.boolean(), fc.constant(null));
/** Some of a row's columns, in their order. */
const row = fc.tuple(fc.integer(), fc.option(cell, { nil: undefined }), fc.option(cell, { nil: undefined }), cell);

type Cell = string | number | boolean | null | undefined;

it('gives the values of images in their batch, of ones that were read, and of maps, as an array that reads the same', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(row, fc.nat(2)), { minLength: 1, maxLength: 12 }), (rows) => {
      const images = rows.map(([cells, kind]) => imageOf(cells, kind));
      const arrays = arraysOf(images, ['c', 'a', 'id', 'gone']).map((array) => readArray(String(array)));
      expect(arrays).toEqual(
        [3, 1, 0, 4].map((column) => rows.map(([cells]) => textOf((cells as readonly Cell[])[column]))),
      );
    }),
  );
});

it('makes pieces of a large value, beside which small ones stand', () => {
  const large = '"é\\'.repeat(LONG_CHARACTERS);
  const images = [imageOf([1, 'a', null, 'c'], 0), imageOf([2, large, null, 'c'], 0)];
  const [ids, values] = arraysOf(images, ['id', 'a']);
  expect(readArray(String(ids))).toEqual(['1', '2']);
  expect(values).toBeInstanceOf(LongText);
  expect(readArray(String(values))).toEqual(['a', large]);
});

it('binds texts, bytes and NULL as text', () => {
  const values = ['é', Buffer.from('é'), null, new LongText(['a', 'b'])];
  const message = Buffer.concat([...bindMessage(values)].map((piece) => Buffer.from(piece)));
  expect(message.toString('latin1', 0, 1)).toBe('B');
  expect(message.readInt32BE(1)).toBe(message.length - 1);
  expect(message.subarray(5)).toEqual(
    Buffer.concat([
      Buffer.from([0, 0, 0, 0, 0, 4]),
      Buffer.from([0, 0, 0, 2, 0xc3, 0xa9]),
      Buffer.from([0, 0, 0, 2, 0xc3, 0xa9]),
      Buffer.from([255, 255, 255, 255]),
      Buffer.from([0, 0, 0, 2, 0x61, 0x62]),
      Buffer.from([0, 0]),
    ]),
  );
});

/** `kind`: 0 as it stands in a batch, 1 of which texts were made, 2 a map. */
function imageOf(cells: readonly Cell[], kind: number): Image {
  const named = NAMES.map((name, index) => [name, cells[index]] as const).filter(([, value]) => value !== undefined);
  if (kind === 2) return new Map(named.map(([name, value]) => [name, textOf(value)]));
  const json = JSON.stringify(Object.fromEntries(named));
  const value = Buffer.from(
    `{"before":null,"after":${json},"source":{},"op":"c","ts_ms":1700000000000,"ts_us":1700000000000000,"ts_ns":1700000000000000000}`,
  );
  const image = scannerOf(TABLE).scan({ bytes: value, from: 0, end: value.length })?.after;
  if (!(image instanceof ScannedImage)) throw new Error(`not read: ${json}`);
  if (kind === 1) expect(image.texts).toHaveLength(named.length);
  return image;
}

function textOf(value: Cell): string | null {
  if (typeof value === 'boolean') return value ? 't' : 'f';
  return value === null || value === undefined ? null : String(value);
}

/** As the server reads `text[]` (PostgreSQL: "Array Input and Output Syntax"). */
function readArray(literal: string): (string | null)[] {
  expect(literal).toMatch(/^\{.*\}$/s);
  const elements = literal.slice(1, -1).matchAll(/"((?:[^"\\]|\\.)*)"|([^,"]+)/gs);
  return [...elements].map(([, quoted, bare]) => {
    if (quoted !== undefined) return quoted.replaceAll(/\\(.)/gs, '$1');
    return bare === undefined || bare.toUpperCase() === 'NULL' ? null : bare;
  });
}
