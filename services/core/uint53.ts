const HIGH = 0x100000000;

/** A count in 64 bits, big-endian, without a BigInt: counts of rows, events and epochs stay below 2^53. */
export function writeUint53(target: Buffer, offset: number, count: number): void {
  target.writeUInt32BE(Math.floor(count / HIGH), offset);
  target.writeUInt32BE(count >>> 0, offset + 4);
}

export function readUint53(source: Buffer, offset: number): number {
  return source.readUInt32BE(offset) * HIGH + source.readUInt32BE(offset + 4);
}
