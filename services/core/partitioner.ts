/** The partition of a record among those of its table's topic, by its key. */
export type Partitioner = (key: string | Buffer | null) => number;

const SEED = 0x9747b28c;
const MIX = 0x5bd1e995;
const SHIFT = 24;

/**
 * As Kafka's own default partitioner and Debezium's connectors place keys: murmur2 of the key's bytes. What has no key goes to partition 0,
 * so that a table without identity keeps its order.
 */
export function keyPartitioner(partitions: number): Partitioner {
  if (partitions <= 1) return () => 0;
  return (key) =>
    key === null ? 0 : (murmur2(typeof key === 'string' ? Buffer.from(key) : key) & 0x7fffffff) % partitions;
}

/** Kafka: org.apache.kafka.common.utils.Utils.murmur2; 32 bits, signed. */
export function murmur2(data: Uint8Array): number {
  const whole = data.length & ~3;
  let hash = SEED ^ data.length;
  const at = (index: number): number => data[index] ?? 0;
  for (let index = 0; index < whole; index += 4) {
    let word = at(index) | (at(index + 1) << 8) | (at(index + 2) << 16) | (at(index + 3) << 24);
    word = Math.imul(word, MIX);
    word ^= word >>> SHIFT;
    word = Math.imul(word, MIX);
    hash = Math.imul(hash, MIX) ^ word;
  }
  const rest = data.length & 3;
  if (rest === 3) hash ^= at(whole + 2) << 16;
  if (rest >= 2) hash ^= at(whole + 1) << 8;
  if (rest >= 1) hash = Math.imul(hash ^ at(whole), MIX);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, MIX);
  return hash ^ (hash >>> 15);
}
