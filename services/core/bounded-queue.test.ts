import { expect, test } from 'vitest';
import { BoundedQueue } from '#core/bounded-queue.ts';

/** What was put, told when its `put` returned. */
function fill(queue: BoundedQueue<number>, items: readonly number[]): number[] {
  const done: number[] = [];
  void (async () => {
    for (const item of items) {
      await queue.put(item);
      done.push(item);
    }
  })().catch(() => done.push(-1));
  return done;
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('a put waits while the queue is full', async () => {
  const queue = new BoundedQueue<number>(2, () => undefined);
  const done = fill(queue, [1, 2, 3]);
  await settled();
  expect(done).toEqual([1, 2]);
  expect(queue.take()).toBe(1);
  await settled();
  expect(done).toEqual([1, 2, 3]);
});

test('the putter of one that fills the queue alone waits until that is taken', async () => {
  const queue = new BoundedQueue<number>(
    2,
    () => undefined,
    (item) => item,
  );
  const done = fill(queue, [5, 1]);
  await settled();
  expect([done, queue.length]).toEqual([[], 1]);
  expect(queue.take()).toBe(5);
  await settled();
  expect(done).toEqual([5, 1]);
});

test('whoever waits is told of a failure', async () => {
  const queue = new BoundedQueue<number>(
    1,
    () => undefined,
    (item) => item,
  );
  const done = fill(queue, [1]);
  queue.close(new Error('gone'));
  await settled();
  expect(done).toEqual([-1]);
});
