import { setImmediate as tick } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { takeLanes } from './lane-seats.ts';

/** Runs lanes until it is told to stop; those of another process are never won. */
async function held(lanes: number, most: number, elsewhere: readonly number[]): Promise<number[]> {
  const mine = new Set<number>();
  const stop = new AbortController();
  const run = async (lane: number, signal: AbortSignal): Promise<boolean> => {
    await tick();
    if (elsewhere.includes(lane)) return false;
    expect(mine.has(lane), `lane ${lane} is held twice`).toBe(false);
    mine.add(lane);
    if (mine.size === Math.min(most, lanes - elsewhere.length)) stop.abort();
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    return true;
  };
  await takeLanes({ lanes, most, run }, stop.signal);
  return [...mine].toSorted((a, b) => a - b);
}

test('a process takes what is free, up to its share, and goes past what others have', async () => {
  expect(await held(3, 3, [])).toEqual([0, 1, 2]);
  expect(await held(4, 2, [0, 1])).toEqual([2, 3]);
  expect(await held(4, 1, [0, 1, 3])).toEqual([2]);
});

test('one that fails for good is told', async () => {
  const run = (lane: number): Promise<boolean> =>
    lane === 1 ? Promise.reject(new Error('for good')) : Promise.resolve(true);
  await expect(takeLanes({ lanes: 2, most: 2, run }, new AbortController().signal)).rejects.toThrow('for good');
});
