import { createCipheriv, type Cipher } from 'node:crypto';

const BLOCK = 16;
const ROUNDS = 10;
const MODES: Readonly<Record<number, string>> = { 16: 'aes-128-ecb', 24: 'aes-192-ecb', 32: 'aes-256-ecb' };

/**
 * FF1 of NIST SP 800-38G: a permutation of the numbers of `length` digits in a radix, chosen by key and tweak. Of numbers below a limit
 * that is no power it is made by going round until one is below (the same publication, appendix; "cycle walking").
 */
export class FormatCipher {
  readonly #aes: Cipher;

  /** `key`: 16, 24 or 32 bytes. */
  constructor(key: Buffer) {
    // Each block stands for itself in ECB, so one cipher serves for all.
    this.#aes = createCipheriv(MODES[key.length] ?? '', key, null).setAutoPadding(false);
  }

  /** A number below `limit` as another one below it. 0 where there is no other. */
  permuteBelow(value: bigint, limit: bigint, tweak: Buffer): bigint {
    if (limit <= 1n) return value;
    // FF1 takes two digits at least.
    const bits = Math.max((limit - 1n).toString(2).length, 2);
    let found = value;
    do found = this.permute(found, 2, bits, tweak);
    while (found >= limit);
    return found;
  }

  /** FF1.Encrypt; `value` is the number that its digits make, the first one highest. */
  permute(value: bigint, radix: number, length: number, tweak: Buffer): bigint {
    const left = Math.floor(length / 2);
    const right = length - left;
    const [ofLeft, ofRight] = [BigInt(radix) ** BigInt(left), BigInt(radix) ** BigInt(right)];
    const bytes = Math.ceil((ofRight - 1n).toString(2).length / 8);
    const wanted = 4 * Math.ceil(bytes / 4) + 4;
    const first = this.#encrypt(headBlock(radix, left, length, tweak.length));
    const padding = (((-tweak.length - bytes - 1) % BLOCK) + BLOCK) % BLOCK;
    const rest = Buffer.concat([tweak, Buffer.alloc(padding + 1 + bytes)]);
    let [a, b] = [value / ofRight, value % ofRight];
    for (let round = 0; round < ROUNDS; round += 1) {
      rest[tweak.length + padding] = round;
      rest.write(b.toString(16).padStart(bytes * 2, '0'), rest.length - bytes, 'hex');
      const modulus = round % 2 === 0 ? ofLeft : ofRight;
      [a, b] = [b, (a + this.#number(first, rest, wanted)) % modulus];
    }
    return a * ofRight + b;
  }

  /** CBC-MAC goes on from the first block; what it gives is stretched to the bytes wanted. */
  #number(first: Buffer, rest: Buffer, wanted: number): bigint {
    let mac = first;
    for (let at = 0; at < rest.length; at += BLOCK) mac = this.#encrypt(xor(mac, rest.subarray(at, at + BLOCK)));
    const blocks = [mac];
    for (let index = 1; index * BLOCK < wanted; index += 1) {
      const counter = Buffer.alloc(BLOCK);
      counter.writeUInt32BE(index, BLOCK - 4);
      blocks.push(this.#encrypt(xor(mac, counter)));
    }
    return BigInt(`0x${Buffer.concat(blocks).subarray(0, wanted).toString('hex')}`);
  }

  #encrypt(block: Buffer): Buffer {
    return this.#aes.update(block);
  }
}

function headBlock(radix: number, left: number, length: number, tweak: number): Buffer {
  const block = Buffer.from([1, 2, 1, 0, 0, 0, ROUNDS, left % 256, 0, 0, 0, 0, 0, 0, 0, 0]);
  block.writeUIntBE(radix, 3, 3);
  block.writeUInt32BE(length, 8);
  block.writeUInt32BE(tweak, 12);
  return block;
}

function xor(one: Buffer, other: Buffer): Buffer {
  const result = Buffer.allocUnsafe(BLOCK);
  for (let index = 0; index < BLOCK; index += 1) result[index] = (one[index] ?? 0) ^ (other[index] ?? 0);
  return result;
}
