import { describe, expect, it } from 'vitest';
import { lsnOf } from '#core/lsn.ts';
import { chunkHeaders, encodeHeaders, streamHeaders } from '#core/record.ts';

describe('headers written into a template', () => {
  it('are what encodeHeaders makes of the same values', () => {
    const pos = Buffer.alloc(16);
    pos.writeBigUInt64BE(0x1_2345_6789n, 0);
    pos.writeBigUInt64BE(7n, 8);
    const expected = encodeHeaders([
      ['pos', pos],
      ['xid', uint64(5n)],
      ['epoch', uint64(9n)],
      ['structure', uint32(0xdeadbeef)],
    ]);
    const position = { commit: lsnOf(0x1_2345_6789n), ordinal: 7 };
    expect(streamHeaders({ position, xid: 5n, epoch: 9, structure: 0xdeadbeef })).toEqual(expected);
  });

  it('hold for snapshot rows too', () => {
    const expected = encodeHeaders([
      ['chunk', uint32(3)],
      ['row', uint64(4n)],
      ['epoch', uint64(0n)],
      ['structure', uint32(1)],
    ]);
    expect(chunkHeaders(3, 4, 0, 1)).toEqual(expected);
  });
});

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function uint64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}
