import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { ByteWriters } from '#core/byte-writers.ts';
import { crc32c } from '#core/crc32c.ts';
import { RecordBatchBuilder, type BatchStamp } from '#core/record-batch.ts';
import { encodeHeaders, NO_HEADERS } from '#core/fixed-headers.ts';

const STAMP: BatchStamp = {
  producerId: 7n,
  producerEpoch: 3,
  baseSequence: 41,
  timestampMs: 1_700_000_000_000,
  compress: false,
};

describe('a sealed record batch', () => {
  it('has the bytes of format 2', () => {
    const builder = new RecordBatchBuilder();
    builder.append('k', 'vv', NO_HEADERS);
    builder.append(null, null, encodeHeaders([['h', Buffer.from([9])]]));
    const batch = builder.seal(STAMP);
    expect(batch.subarray(61).toString('hex')).toBe(
      // length, attributes, timestamp and offset deltas, key, value, headers: zig-zag varints.
      ['12', '00', '00', '00', '02', '6b', '04', '7676', '00'].join('') +
        ['14', '00', '00', '02', '01', '01', '02', '02', '68', '02', '09'].join(''),
    );
    expect({
      baseOffset: batch.readBigInt64BE(0),
      length: batch.readInt32BE(8),
      leaderEpoch: batch.readInt32BE(12),
      magic: batch.readInt8(16),
      crc: batch.readUInt32BE(17),
      attributes: batch.readInt16BE(21),
      lastOffsetDelta: batch.readInt32BE(23),
      timestamps: [batch.readBigInt64BE(27), batch.readBigInt64BE(35)],
      producer: [batch.readBigInt64BE(43), batch.readInt16BE(51), batch.readInt32BE(53)],
      count: batch.readInt32BE(57),
    }).toEqual({
      baseOffset: 0n,
      length: batch.length - 12,
      leaderEpoch: -1,
      magic: 2,
      crc: crc32c(batch.subarray(21)),
      attributes: 0x10,
      lastOffsetDelta: 1,
      timestamps: [1_700_000_000_000n, 1_700_000_000_000n],
      producer: [7n, 3, 41],
      count: 2,
    });
  });

  it('is compressed where that pays, and says so', () => {
    const [plain, packed] = [false, true].map((compress) => {
      const builder = new RecordBatchBuilder();
      for (let index = 0; index < 100; index += 1) builder.append(null, 'the same again', NO_HEADERS);
      return builder.seal({ ...STAMP, compress });
    });
    expect(packed?.readInt16BE(21)).toBe(0x11);
    expect(packed?.readUInt32BE(17)).toBe(crc32c(packed ?? Buffer.alloc(0), 21));
    expect(gunzipSync(packed?.subarray(61) ?? Buffer.alloc(0))).toEqual(plain?.subarray(61));
  });

  it('leaves a small one as it is', () => {
    const builder = new RecordBatchBuilder();
    builder.append('k', 'v', NO_HEADERS);
    expect(builder.seal({ ...STAMP, compress: true, transactional: false }).readInt16BE(21)).toBe(0);
  });

  it('counts bytes as they are encoded: characters are not bytes, and the buffer grows', () => {
    const builder = new RecordBatchBuilder();
    builder.append('ключ', '😀'.repeat(10_000), NO_HEADERS);
    expect(builder.count).toBe(1);
    expect(builder.bytes).toBe(builder.seal(STAMP).length);
    expect(builder.bytes).toBeGreaterThan(61 + 8 + 40_000);
  });

  it('gives back what it was written with once it is packed, and not while another thread reads that', async () => {
    const writers = new ByteWriters();
    const value = 'the same again'.repeat(10_000);
    const written = (): RecordBatchBuilder => {
      const builder = new RecordBatchBuilder(writers);
      builder.append(null, value, NO_HEADERS);
      return builder;
    };
    const valueOf = (batch: Buffer): string => String(gunzipSync(batch.subarray(61))).slice(-value.length - 1, -1);
    const [here, beside] = [written(), written()];
    const packing = beside.packed();
    const early = beside.seal({ ...STAMP, compress: true });
    beside.pack();
    here.pack();
    const [first, second] = [writers.take(), writers.take()];
    expect([first.capacity >= value.length, second.capacity >= value.length]).toEqual([true, false]);
    await packing;
    const third = writers.take();
    expect(third.capacity).toBeGreaterThanOrEqual(value.length);
    for (const writer of [first, third]) writer.put(Buffer.alloc(value.length, 'x'));
    for (const batch of [early, here.seal({ ...STAMP, compress: true })]) expect(valueOf(batch)).toBe(value);
  });
});
