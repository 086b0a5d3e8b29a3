import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chunkCount, ChunkDigests, groupChunks, hashNumber } from '#core/verify/chunk-digests.ts';

const md5 = (text: string): string => createHash('md5').update(text).digest('hex');

function digest(rows: readonly string[], chunks: number): ChunkDigests {
  const digests = new ChunkDigests();
  for (const row of rows)
    digests.add(Number.parseInt(md5(row).slice(0, 3), 16) & (chunks - 1), { rows: 1, sum: hashNumber(md5(row)) });
  return digests;
}

test('order does not matter, a row more or less does', () => {
  fc.assert(
    fc.property(fc.array(fc.string(), { minLength: 1 }), (rows) => {
      expect(digest(rows, 16).unequal(digest(rows.toReversed(), 16))).toEqual([]);
      expect(digest(rows, 16).unequal(digest(rows.slice(1), 16))).toHaveLength(1);
      expect(digest([...rows, ...rows], 16).unequal(digest(rows, 16)).length).toBeGreaterThan(0);
    }),
  );
});

test('a hash is the signed number that SQL makes of it', () => {
  expect(hashNumber('ffffffffffffffff0000000000000000')).toBe(-1n);
  expect(hashNumber('7fffffffffffffffffffffffffffffff')).toBe(9_223_372_036_854_775_807n);
});

test('chunks are a power of two within bounds', () => {
  expect([0, 256, 257, 1_000_000, 1e12].map(chunkCount)).toEqual([1, 1, 2, 4_096, 4_096]);
});

test('groups hold no more rows than allowed, unless one chunk does', () => {
  const rows = [50, 60, 10, 500, 1];
  expect(groupChunks([0, 1, 2, 3, 4], (chunk) => rows[chunk] ?? 0, 100)).toEqual([[0], [1, 2], [3], [4]]);
});
