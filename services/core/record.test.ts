import { describe, expect, it } from 'vitest';
import { lsnOf } from '#core/lsn.ts';
import { encodeHeaders } from '#core/fixed-headers.ts';
import { ChunkHeaders, chunkHeaders, StreamHeaders, streamHeaders } from '#core/record.ts';
import { int32, int64 } from '../../test/harness/wire-numbers.ts';

describe('headers written into a template', () => {
  it('are what encodeHeaders makes of the same values', () => {
    const pos = Buffer.alloc(16);
    pos.writeBigUInt64BE(0x1_2345_6789n, 0);
    pos.writeBigUInt64BE(7n, 8);
    const expected = encodeHeaders([
      ['pos', pos],
      ['xid', int64(5n)],
      ['epoch', int64(9n)],
      ['structure', int32(0xdeadbeef)],
    ]);
    const position = { commit: lsnOf(0x1_2345_6789n), ordinal: 7 };
    expect(streamHeaders({ position, xid: 5n, epoch: 9, structure: 0xdeadbeef })).toEqual(expected);
  });

  it('hold for snapshot rows too', () => {
    const expected = encodeHeaders([
      ['chunk', int32(3)],
      ['row', int64(4n)],
      ['epoch', int64(0n)],
      ['structure', int32(1)],
    ]);
    expect(chunkHeaders(3, 4, 0, 1)).toEqual(expected);
  });
});

describe('headers as they stand in a batch', () => {
  const position = { commit: lsnOf(0x77n), ordinal: 3 };
  const stream = Buffer.concat([Buffer.from('..'), streamHeaders({ position, xid: 5n, epoch: 9, structure: 4 })]);
  const chunk = Buffer.concat([Buffer.from('..'), chunkHeaders(3, 4, 0, 1)]);

  it('are read as the map that they are', () => {
    expect(new Map(StreamHeaders.find(stream, 2, stream.length))).toEqual(
      new Map([
        ['pos', Buffer.concat([int64(0x77n), int64(3n)])],
        ['xid', int64(5n)],
        ['epoch', int64(9n)],
        ['structure', int32(4)],
      ]),
    );
    const found = ChunkHeaders.find(chunk, 2, chunk.length);
    expect([found?.get('chunk'), found?.get('row'), found?.get('structure')]).toEqual([int32(3), int64(4n), int32(1)]);
    expect([found?.size, found?.has('pos'), found?.get('pos'), found?.has('row')]).toEqual([4, false, undefined, true]);
  });

  it('are written with another structure', () => {
    expect(ChunkHeaders.find(chunk, 2, chunk.length)?.encode(8)).toEqual(chunkHeaders(3, 4, 0, 8));
    const other = streamHeaders({ position, xid: 5n, epoch: 9, structure: 8 });
    expect(StreamHeaders.find(stream, 2, stream.length)?.encode(8)).toEqual(other);
  });

  it('are no others, nor cut, nor longer', () => {
    expect([StreamHeaders.find(chunk, 2, chunk.length), ChunkHeaders.find(stream, 2, stream.length)]).toEqual([
      null,
      null,
    ]);
    for (const end of [chunk.length - 1, chunk.length + 1]) expect(ChunkHeaders.find(chunk, 2, end)).toBeNull();
    const named = Buffer.from(chunk.map((byte) => (byte === 0x72 ? 0x52 : byte)));
    expect(ChunkHeaders.find(named, 2, named.length)).toBeNull();
  });
});
