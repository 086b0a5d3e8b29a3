import { describe, expect, it } from 'vitest';
import { NO_HEADERS } from './fixed-headers.ts';
import { type KafkaRecord } from './record.ts';
import { LARGEST_ROW_BYTES, PIECE_HEADER, PieceJoiner, splitValue } from './record-pieces.ts';

const BROKER_LIMIT = 1_048_588;

function piecesOf(value: string | Buffer): KafkaRecord[] {
  return [...splitValue(value, NO_HEADERS)].map((piece, index) => ({
    offset: BigInt(10 + index),
    key: Buffer.from('{"id":1}'),
    value: Buffer.from(piece.value),
    headers: new Map([[PIECE_HEADER, piece.headers.subarray(-8)]]),
  }));
}

function joined(records: readonly KafkaRecord[]): readonly KafkaRecord[] {
  const joiner = new PieceJoiner('topic t, partition 0');
  const whole = records.flatMap((record) => joiner.take([record]));
  joiner.end();
  return whole;
}

describe('a row larger than a broker takes', () => {
  it.each([
    ['ASCII', 'x'.repeat(2_000_001)],
    ['three bytes a character', '€'.repeat(900_000)],
    ['surrogate pairs at every border', `x${'😀'.repeat(700_000)}`],
    ['bytes', Buffer.alloc(2_500_000, 7)],
  ])('of %s goes in pieces and comes back byte for byte', (_, value) => {
    const pieces = piecesOf(value);
    expect(pieces.length).toBeGreaterThan(2);
    for (const { value: bytes } of pieces) expect(bytes?.length).toBeLessThan(BROKER_LIMIT - 50_000);
    const [record, ...others] = joined(pieces);
    expect(others).toEqual([]);
    expect(record?.value?.equals(Buffer.from(value))).toBe(true);
    expect(record).toMatchObject({ offset: 10n, key: Buffer.from('{"id":1}') });
    expect(record?.headers.has(PIECE_HEADER)).toBe(false);
  });

  it.each([['x'.repeat(300_000)], [Buffer.alloc(900_000)], [null]])('is not one that fits', (value) => {
    expect([...splitValue(value, NO_HEADERS)]).toEqual([]);
  });

  it('passes what has no pieces, around one that has', () => {
    const plain: KafkaRecord = { offset: 1n, key: null, value: Buffer.from('a'), headers: new Map() };
    const pieces = piecesOf('x'.repeat(700_000));
    expect(joined([plain, ...pieces, plain]).map(({ value }) => value?.length)).toEqual([1, 700_000, 1]);
  });
});

describe('pieces that are not as we write them are refused', () => {
  const pieces = piecesOf('x'.repeat(700_000));
  const [first, second, third] = pieces as [KafkaRecord, KafkaRecord, KafkaRecord];
  const plain: KafkaRecord = { offset: 99n, key: null, value: Buffer.from('a'), headers: new Map() };

  it.each([
    ['the last one is missing', [first, second]],
    ['one is missing', [first, third]],
    ['the first one is missing', [second]],
    ['one is there twice', [first, first]],
    ['another record stands between', [first, plain]],
    ['it has no value', [{ ...first, value: null }]],
    ['its number is cut', [{ ...first, headers: new Map([[PIECE_HEADER, Buffer.alloc(3)]]) }]],
  ])('%s', (_, records) => {
    expect(() => joined(records)).toThrow(
      expect.objectContaining({
        code: 'record_invalid',
        where: expect.stringContaining('topic t, partition 0, offset'),
      }),
    );
  });

  it('more of them than a row may have', () => {
    const joiner = new PieceJoiner('t');
    const value = Buffer.alloc(100 * 1024 * 1024);
    const count = 1_000;
    const piece = (index: number): KafkaRecord => {
      const header = Buffer.alloc(8);
      header.writeUInt32BE(index, 0);
      header.writeUInt32BE(count, 4);
      return { offset: 0n, key: null, value, headers: new Map([[PIECE_HEADER, header]]) };
    };
    const most = LARGEST_ROW_BYTES / value.length;
    for (let index = 0; index < most; index += 1) joiner.take([piece(index)]);
    expect(() => joiner.take([piece(most)])).toThrow(expect.objectContaining({ code: 'record_invalid' }));
  });
});
