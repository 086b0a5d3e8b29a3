const HIGH = 0x100000000;

/** A count in 64 bits, big-endian, without a BigInt: counts of rows, events and epochs stay below 2^53. */
export function writeUint53(target: Buffer, offset: number, count: number): void {
  target.writeUInt32BE(Math.floor(count / HIGH), offset);
  target.writeUInt32BE(count >>> 0, offset + 4);
}

export function readUint53(source: Buffer, offset: number): number {
  return readUint32(source, offset) * HIGH + readUint32(source, offset + 4);
}

/** As Buffer.readUInt32BE, at the cost of a few loads. @throws RangeError when fewer than 4 bytes are there. */
export function readUint32(source: Buffer, offset: number): number {
  const last = source[offset + 3];
  if (last === undefined) throw new RangeError('past the end');
  return (
    (source[offset] ?? 0) * 0x1000000 + (((source[offset + 1] ?? 0) << 16) | ((source[offset + 2] ?? 0) << 8) | last)
  );
}

const WORDS = new Uint32Array(2);
const NUMBER = new BigUint64Array(WORDS.buffer);
const IS_LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** As Buffer.readBigUInt64BE, which makes five BigInts of one. @throws RangeError when fewer than 8 bytes are there. */
export function readUint64(source: Buffer, offset: number): bigint {
  WORDS[IS_LITTLE ? 1 : 0] = readUint32(source, offset);
  WORDS[IS_LITTLE ? 0 : 1] = readUint32(source, offset + 4);
  return NUMBER[0] ?? 0n;
}
