import { expect, test } from 'vitest';
import { waitForAll, type TopicWaitResult } from './debezium-wait.ts';

const REACHED: TopicWaitResult = { isReached: true, behind: [], isLoadDone: true };

test('a topic that the broker names later is waited for too, those known before as they were then', async () => {
  const listings = [
    [['old', 5n]],
    [
      ['old', 9n],
      ['made just now', 2n],
    ],
    [],
  ] as const;
  let listing = 0;
  const waited: unknown[] = [];
  const result = await waitForAll(
    async (known) => new Map([...(listings[listing++] ?? []), ...known]),
    async (ends) => {
      waited.push(Object.fromEntries(ends));
      return REACHED;
    },
  );
  expect(result).toBe(REACHED);
  expect(waited).toEqual([{ old: 5n }, { old: 5n, 'made just now': 2n }]);
});

test('what is not reached in time ends it', async () => {
  const late: TopicWaitResult = { isReached: false, behind: ['old'], isLoadDone: false };
  expect(
    await waitForAll(
      async () => new Map([['old', 1n]]),
      async () => late,
    ),
  ).toBe(late);
});
