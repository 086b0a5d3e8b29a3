import { expect, test } from 'vitest';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { KafkaRecord } from '#core/record.ts';
import { TokenBucket } from '#core/token-bucket.ts';
import { pacedReader } from './paced-reader.ts';

const RECORD = {} as KafkaRecord;
const source = {
  async *read() {
    yield await Promise.resolve([RECORD, RECORD]);
    yield [RECORD];
  },
} as unknown as EpochReader;
const range = (topic: string) => ({ topic, partition: 0, first: '0', last: '2', count: 3 });

test('every event is paid for, structures are not, and a stop is not waited for', async () => {
  const now = 0;
  const bucket = new TokenBucket(3, () => now);
  const reader = pacedReader(source, bucket, 'shop.schemas');
  const read = async (topic: string, signal: AbortSignal): Promise<number> => {
    let count = 0;
    for await (const records of reader.read(range(topic), signal)) count += records.length;
    return count;
  };
  expect(await read('shop.schemas', new AbortController().signal)).toBe(3);
  expect(await read('shop.public.t', new AbortController().signal)).toBe(3);
  // The clock stands still: nothing would ever come.
  expect(bucket.take(0)).toBe(0);
  expect(await read('shop.public.t', AbortSignal.abort())).toBe(3);
  expect(bucket.take(0)).toBe(1_000);
});
