import { expect, test } from 'vitest';
import { WaitMeter } from '#core/wait-meter.ts';

test('the time until a value comes is waited, the time that its loop takes is not, and a wait that goes on counts', async () => {
  let now = 0;
  const waits = new WaitMeter(() => now);
  const seen: number[] = [];
  async function* values(): AsyncGenerator<string> {
    await Promise.resolve();
    now += 30;
    yield 'first';
    now += 20;
    seen.push(waits.waitedMs);
    now += 1;
    yield 'second';
  }
  const taken: string[] = [];
  for await (const value of waits.through(values())) {
    taken.push(value);
    now += 1_000;
  }
  expect(taken).toEqual(['first', 'second']);
  expect(seen).toEqual([50]);
  expect(waits.waitedMs).toBe(51);
});

test('a loop that is left early ends what it read from', async () => {
  const waits = new WaitMeter(() => 0);
  let isEnded = false;
  async function* values(): AsyncGenerator<number> {
    try {
      yield await Promise.resolve(1);
      yield 2;
    } finally {
      isEnded = true;
    }
  }
  for await (const value of waits.through(values())) if (value === 1) break;
  expect(isEnded).toBe(true);
});
