import { expect, test } from 'vitest';
import { FetchedTails } from './fetched-tails.ts';
import type { DecodedBatch } from './record-batch-decoder.ts';

/** Offsets `first` to `last`. */
function batch(first: number, last: number): DecodedBatch {
  return {
    baseOffset: BigInt(first),
    lastOffset: BigInt(last),
    count: last - first + 1,
    producerId: 1n,
    isTransactional: true,
    isControl: false,
    records: () => [],
  };
}

function offsets(tails: FetchedTails, topic: string, offset: bigint): (bigint | undefined)[] | undefined {
  return tails.take(topic, 0, offset)?.batches.map(({ baseOffset }) => baseOffset);
}

test('gives the batches from the one that holds the offset on, once', () => {
  const tails = new FetchedTails(100);
  tails.keep('a', 0, { batches: [batch(0, 4), batch(6, 9), batch(10, 10)], bytes: 10 });
  expect(offsets(tails, 'b', 7n)).toBeUndefined();
  expect(offsets(tails, 'a', 7n)).toEqual([6n, 10n]);
  expect(offsets(tails, 'a', 7n)).toBeUndefined();
});

test('an offset that it has not, or only later ones, is fetched', () => {
  const tails = new FetchedTails(100);
  tails.keep('a', 0, { batches: [batch(0, 4), batch(6, 9)], bytes: 10 });
  expect(offsets(tails, 'a', 5n)).toBeUndefined();
  tails.keep('a', 0, { batches: [batch(0, 4)], bytes: 10 });
  expect(offsets(tails, 'a', 5n)).toBeUndefined();
});

test('keeps no more bytes than it may: what was read longest ago goes', () => {
  const tails = new FetchedTails(100);
  for (const topic of ['a', 'b', 'c']) tails.keep(topic, 0, { batches: [batch(0, 4)], bytes: 40 });
  expect(offsets(tails, 'a', 0n)).toBeUndefined();
  expect(offsets(tails, 'b', 0n)).toEqual([0n]);
  tails.keep('c', 0, { batches: [batch(5, 6)], bytes: 70 });
  tails.keep('d', 0, { batches: [batch(0, 1)], bytes: 30 });
  expect(offsets(tails, 'c', 5n)).toEqual([5n]);
  expect(offsets(tails, 'd', 0n)).toEqual([0n]);
  tails.keep('e', 0, { batches: [batch(0, 1)], bytes: 101 });
  expect(offsets(tails, 'e', 0n)).toBeUndefined();
});
