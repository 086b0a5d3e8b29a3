import { expect, test } from 'vitest';
import { TokenBucket } from '#core/token-bucket.ts';

test('takers wait as long as the rate asks for, whatever the size of their pieces', () => {
  let now = 5_000;
  const bucket = new TokenBucket(100, () => now);
  expect(bucket.take(100)).toBe(0);
  expect(bucket.take(50)).toBe(500);
  now += 500;
  expect(bucket.take(1)).toBe(10);
  now += 10;
  // More than a second's worth at once passes whole and is paid for afterwards.
  expect(bucket.take(1_000)).toBe(10_000);
  now += 10_000;
  let waited = 0;
  for (let taken = 0; taken < 1_000; taken += 7) {
    const wait = bucket.take(7);
    now += wait;
    waited += wait;
  }
  expect(waited).toBeGreaterThanOrEqual(9_900);
  expect(waited).toBeLessThan(10_400);
});

test('a rest gives back a second and no more, a clock that goes back takes nothing away', () => {
  let now = 0;
  const bucket = new TokenBucket(10, () => now);
  bucket.take(10);
  now += 60_000;
  expect(bucket.take(10)).toBe(0);
  expect(bucket.take(1)).toBe(100);
  now -= 30_000;
  expect(bucket.take(1)).toBe(200);
});
