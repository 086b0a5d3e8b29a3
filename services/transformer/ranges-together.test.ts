import { expect, test } from 'vitest';
import type { ManifestRange } from '#core/manifest.ts';
import type { KafkaRecord } from '#core/record.ts';
import { readTogether } from './ranges-together.ts';

const RANGES = ['a', 'b', 'c'].map((topic): ManifestRange => ({
  topic,
  partition: 0,
  first: '0',
  last: '1',
  count: 2,
}));

function recordOf(topic: string, offset: number): KafkaRecord {
  return { offset: BigInt(offset), key: Buffer.from(topic), value: null, headers: new Map() };
}

test('begins to read several ranges at once, and gives their records one range after another', async () => {
  const begun: string[] = [];
  const reader = {
    async *read({ topic }: ManifestRange) {
      begun.push(topic);
      for (let offset = 0; offset < 2; offset += 1) yield await Promise.resolve([recordOf(topic, offset)]);
    },
  };
  const given: string[] = [];
  for await (const { range, records } of readTogether(reader, RANGES, new AbortController().signal)) {
    expect(begun).toEqual(['a', 'b', 'c']);
    for (const { key, offset } of records) given.push(`${range.topic}: ${String(key)} ${offset}`);
  }
  expect(given).toEqual(['a: a 0', 'a: a 1', 'b: b 0', 'b: b 1', 'c: c 0', 'c: c 1']);
});

test('a range that cannot be read fails in its turn', async () => {
  const reader = {
    async *read({ topic }: ManifestRange) {
      if (topic === 'b') throw new Error('history is gone');
      yield await Promise.resolve([recordOf(topic, 0)]);
    },
  };
  const given: string[] = [];
  const reading = (async () => {
    for await (const { range } of readTogether(reader, RANGES, new AbortController().signal)) given.push(range.topic);
  })();
  await expect(reading).rejects.toThrow('history is gone');
  expect(given).toEqual(['a']);
});
