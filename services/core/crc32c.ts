const POLYNOMIAL = 0x82f63b78;
const SLICES = 8;
const TABLES = makeTables();

/** CRC-32C (Castagnoli), eight bytes a step, of `data` from `from` on. Kafka checks every record batch with it. */
export function crc32c(data: Buffer, from = 0): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES;
  let crc = 0xffffffff;
  let at = from;
  const end8 = data.length - ((data.length - from) % SLICES);
  for (; at < end8; at += SLICES) {
    const low = crc ^ (data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24));
    crc =
      t7[low & 255]! ^
      t6[(low >>> 8) & 255]! ^
      t5[(low >>> 16) & 255]! ^
      t4[low >>> 24]! ^
      t3[data[at + 4]!]! ^
      t2[data[at + 5]!]! ^
      t1[data[at + 6]!]! ^
      t0[data[at + 7]!]!;
  }
  for (; at < data.length; at += 1) crc = (crc >>> 8) ^ t0[(crc ^ data[at]!) & 255]!;
  return (crc ^ 0xffffffff) >>> 0;
}

type EightTables = readonly [
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
];

function makeTables(): EightTables {
  const tables = Array.from({ length: SLICES }, () => new Uint32Array(256));
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    tables[0]![byte] = crc >>> 0;
  }
  for (let slice = 1; slice < SLICES; slice += 1) {
    for (let byte = 0; byte < 256; byte += 1) {
      const before = tables[slice - 1]![byte]!;
      tables[slice]![byte] = ((before >>> 8) ^ tables[0]![before & 255]!) >>> 0;
    }
  }
  return tables as unknown as EightTables;
}
