import { expect, test } from 'vitest';
import { ByteWriters } from './byte-writers.ts';

const MEBIBYTE = 1024 * 1024;

test('a writer that is given back is taken again, empty and as large as it was; what is too much is left to the collector', () => {
  const writers = new ByteWriters();
  const first = writers.take();
  first.reserve(MEBIBYTE);
  first.put(Buffer.from('before'));
  writers.give(first);
  expect(writers.take()).toBe(first);
  expect(first.length).toBe(0);
  expect(first.capacity).toBeGreaterThanOrEqual(MEBIBYTE);
  const many = Array.from({ length: 20 }, () => writers.take());
  expect(new Set(many).size).toBe(20);
  for (const writer of many) {
    writer.reserve(MEBIBYTE);
    writers.give(writer);
  }
  const again = many.map(() => writers.take());
  expect(again.filter((writer) => many.includes(writer))).toHaveLength(8);
});
