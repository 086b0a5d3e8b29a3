import { expect, test } from 'vitest';
import { countRecords, placeKey, RangeCutter } from '#core/record-counts.ts';
import { encodeHeaders } from '#core/fixed-headers.ts';
import { TopicBatches } from '#core/topic-batches.ts';

const HEADERS = encodeHeaders([]);

test('each manifest of a transaction names the records that came after those of the one before', () => {
  const batches = new TopicBatches();
  const put = (topic: string, count: number): void => {
    for (let index = 0; index < count; index += 1) batches.append(topic, null, 'value', HEADERS);
  };
  put('a', 3);
  const first = batches.takeCounts();
  put('b', 2);
  put('a', 1);
  const second = batches.takeCounts();
  const third = batches.takeCounts();
  expect(countRecords(batches.finish())).toEqual([
    { topic: 'a', partition: 0, count: 4 },
    { topic: 'b', partition: 0, count: 2 },
  ]);

  const written = [
    { topic: 'a', partition: 0, first: '100', last: '103', count: 4 },
    { topic: 'b', partition: 0, first: '7', last: '8', count: 2 },
  ];
  const cutter = new RangeCutter(new Map(written.map((range) => [placeKey(range), range])));
  expect(cutter.next(first)).toEqual([{ topic: 'a', partition: 0, first: '100', last: '102', count: 3 }]);
  expect(cutter.next(second)).toEqual([
    { topic: 'a', partition: 0, first: '103', last: '103', count: 1 },
    { topic: 'b', partition: 0, first: '7', last: '8', count: 2 },
  ]);
  expect(cutter.next(third)).toEqual([]);
});
