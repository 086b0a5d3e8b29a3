import fc from 'fast-check';
import { Partitioners } from 'kafkajs';
import { expect, test } from 'vitest';
import { keyPartitioner } from './partitioner.ts';

const kafkajs = Partitioners.DefaultPartitioner();

/** Where a client that knows nothing of Restage would put the key. */
function elsewhere(key: Buffer | string, partitions: number): number {
  const partitionMetadata = Array.from({ length: partitions }, (_, partitionId) => ({
    partitionErrorCode: 0,
    partitionId,
    leader: 1,
    replicas: [1],
    isr: [1],
  }));
  return kafkajs({ topic: 't', partitionMetadata, message: { key, value: null } });
}

test('keys go where other clients of Kafka put them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.integer({ min: 1, max: 50 }), (bytes, partitions) => {
      const key = Buffer.from(bytes);
      expect(keyPartitioner(partitions)(key)).toBe(elsewhere(key, partitions));
    }),
  );
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (key) => {
      expect(keyPartitioner(7)(key)).toBe(elsewhere(key, 7));
    }),
  );
});

test('what has no key keeps its order in one partition', () => {
  expect([1, 3, 12].map((partitions) => keyPartitioner(partitions)(null))).toEqual([0, 0, 0]);
});
