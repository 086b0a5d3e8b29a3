import { encodeHeaders } from '#core/fixed-headers.ts';

/** Restage's own headers with others behind them: both as encodeHeaders makes them, fewer than 64 together. */
export function joinHeaders(own: Buffer, more: readonly (readonly [string, Buffer])[]): Buffer {
  if (more.length === 0) return own;
  const others = encodeHeaders(more);
  // The count is a zig-zag varint of one byte.
  const count = Buffer.of(own.readUInt8(0) + others.readUInt8(0));
  return Buffer.concat([count, own.subarray(1), others.subarray(1)]);
}
