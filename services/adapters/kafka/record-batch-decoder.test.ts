import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RecordBatchBuilder } from '#core/record-batch.ts';
import { encodeHeaders } from '#core/fixed-headers.ts';
import { decodeBatches, firstBatchBytes } from './record-batch-decoder.ts';

const MIB = 1024 * 1024;
const WHERE = 'topic t, partition 0';
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const records = fc.array(
  fc.record({
    key: fc.option(bytes),
    value: fc.option(bytes),
    headers: fc.uniqueArray(fc.tuple(fc.string({ unit: 'grapheme-ascii', maxLength: 20 }), bytes), {
      maxLength: 4,
      selector: ([name]) => name,
    }),
  }),
  { minLength: 1, maxLength: 200 },
);

describe('decodeBatches', () => {
  it('gives back what RecordBatchBuilder wrote, compressed or not, with the offsets that the broker gave', () => {
    fc.assert(
      fc.property(records, fc.boolean(), fc.bigInt({ min: 0n, max: 2n ** 62n }), (written, compress, baseOffset) => {
        const [batch] = decodeBatches(seal(written, compress, baseOffset), WHERE);
        expect(batch).toMatchObject({ baseOffset, lastOffset: baseOffset + BigInt(written.length) - 1n });
        expect(batch).toMatchObject({ producerId: 7n, isTransactional: true, isControl: false });
        const expected = written.map((record, index) => ({
          offset: baseOffset + BigInt(index),
          key: record.key,
          value: record.value,
          headers: new Map(record.headers),
        }));
        const read = batch?.records().map(({ offset, key, value, headers }) => ({ offset, key, value, headers }));
        expect(read).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  it('never inflates a bomb: a GiB from 1 MB', () => {
    // Members of one gzip stream are inflated one behind another (RFC 1952).
    const quarter = gzipSync(Buffer.alloc(256 * MIB));
    const head = seal([plain('a'.repeat(2000))], true, 0n).subarray(0, 61);
    const bomb = Buffer.concat([head, quarter, quarter, quarter, quarter]);
    bomb.writeInt32BE(bomb.length - 12, 8);
    const before = process.memoryUsage().rss;
    const [batch] = decodeBatches(bomb, WHERE);
    expect(() => batch?.records()).toThrow(expect.objectContaining({ code: 'record_invalid', where: WHERE }));
    expect(process.memoryUsage().rss - before).toBeLessThan(192 * MIB);
  });

  it('leaves out a batch that the fetch cut, wherever it cut it', () => {
    const whole = seal([plain('a')], false, 0n);
    const both = Buffer.concat([whole, seal([plain('b')], false, 1n)]);
    for (let cut = 0; cut < both.length; cut += 1)
      expect(decodeBatches(both.subarray(0, cut), WHERE)).toHaveLength(cut < whole.length ? 0 : 1);
    expect(decodeBatches(both, WHERE).map((batch) => batch.baseOffset)).toEqual([0n, 1n]);
    expect(firstBatchBytes(both.subarray(0, 12))).toBe(whole.length);
  });

  it('gives views, not copies, where nothing is compressed', () => {
    const batch = seal([plain('a')], false, 0n);
    expect(decodeBatches(batch, WHERE)[0]?.records()[0]?.value?.buffer).toBe(batch.buffer);
  });

  it('decodes no record before it is asked to', () => {
    const batch = seal([plain('a'.repeat(2000))], true, 0n);
    batch.fill(0, 61);
    const [damaged] = decodeBatches(batch, WHERE);
    expect(() => damaged?.records()).toThrow(expect.objectContaining({ code: 'record_invalid', where: WHERE }));
  });

  it.each([
    ['an old format', (batch: Buffer) => batch.writeInt8(1, 16)],
    ['a length below the header', (batch: Buffer) => batch.writeInt32BE(10, 8)],
    ['a compression that Restage does not write', (batch: Buffer) => batch.writeInt16BE(0x12, 21)],
    ['more records than there are bytes', (batch: Buffer) => batch.writeInt32BE(0x7fffffff, 57)],
    ['a record longer than the batch', (batch: Buffer) => batch.writeInt8(0x7e, 61 + 4)],
  ])('refuses %s loudly', (_name, damage) => {
    const batch = seal([plain('a')], false, 0n);
    damage(batch);
    expect(() => decodeBatches(batch, WHERE).map((found) => found.records())).toThrow(
      expect.objectContaining({ code: 'record_invalid', where: WHERE }),
    );
  });

  it('never fails on damaged bytes but as record_invalid', () => {
    const batch = seal([plain('a'), plain('b'), plain('c')], false, 0n);
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(batch.length - 1), fc.nat(255)), { maxLength: 6 }), (changes) => {
        const damaged = Buffer.from(batch);
        for (const [at, byte] of changes) damaged[at] = byte;
        try {
          for (const found of decodeBatches(damaged, WHERE)) found.records();
        } catch (error) {
          expect(error).toMatchObject({ code: 'record_invalid' });
        }
      }),
      { numRuns: 2000 },
    );
  });
});

interface Written {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly (readonly [string, Buffer])[];
}

function plain(value: string): Written {
  return { key: null, value: Buffer.from(value), headers: [] };
}

function seal(written: readonly Written[], compress: boolean, baseOffset: bigint): Buffer {
  const builder = new RecordBatchBuilder();
  for (const { key, value, headers } of written) builder.append(key, value, encodeHeaders(headers));
  const batch = Buffer.from(
    builder.seal({ producerId: 7n, producerEpoch: 0, baseSequence: 0, timestampMs: 1, compress }),
  );
  batch.writeBigInt64BE(baseOffset, 0);
  return batch;
}
