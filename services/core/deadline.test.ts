import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { startDeadline } from '#core/deadline.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

async function turns(count: number, isDone: () => boolean): Promise<boolean> {
  for (let turn = 0; turn < count && !isDone(); turn += 1) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return isDone();
}

test('fires at its time, whatever is collected meanwhile', async () => {
  const { signal } = startDeadline(50, new AbortController().signal);
  expect(signal.aborted).toBe(false);
  expect(await turns(500, () => signal.aborted)).toBe(true);
});

test('fires with the other signal, and leaves no timer when cancelled', () => {
  const other = new AbortController();
  const { signal, cancel } = startDeadline(60_000, other.signal);
  other.abort();
  cancel();
  expect(signal.aborted).toBe(true);
});
