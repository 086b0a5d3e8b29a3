import { setImmediate as turn } from 'node:timers/promises';
import type pg from 'pg';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createAdvisoryLease, type DatabaseLease } from './advisory-lease.ts';

const TOUCH_MS = 3_000;
/** Answers to what the held lease asked, in order: each is given when it is called. */
let answers: (() => void)[] = [];

/** A session that wins the lock, and leaves what is asked afterwards to the test. */
function session(): pg.Client {
  const query = (sql: string): Promise<unknown> =>
    sql === 'SELECT 1'
      ? new Promise<void>((resolve) => answers.push(resolve))
      : Promise.resolve({ rows: [{ won: true, pid: 7 }] });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- only what a lease uses
  return { query, once: () => undefined, end: () => Promise.resolve() } as unknown as pg.Client;
}

async function hold(): Promise<DatabaseLease> {
  const lease = createAdvisoryLease({ connect: async () => session(), name: 'p', logger: pino({ level: 'silent' }) });
  expect(lease.isHeld).toBe(false);
  await lease.acquire(new AbortController().signal, () => undefined);
  expect(lease.isHeld).toBe(true);
  return lease;
}

/** The event loop goes round: what the network has brought is read. */
async function rounds(): Promise<void> {
  for (let count = 0; count < 4; count += 1) await turn();
}

beforeEach(() => {
  answers = [];
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
});

afterEach(() => {
  vi.useRealTimers();
});

it('is lost where the server gives no answer within an interval', async () => {
  const lease = await hold();
  vi.advanceTimersByTime(2 * TOUCH_MS);
  await rounds();
  expect(lease.lost.aborted).toBe(true);
  expect(lease.isHeld).toBe(false);
});

it('is not lost where the process was held up itself, and finds the answer behind the timers', async () => {
  const lease = await hold();
  vi.advanceTimersByTime(2 * TOUCH_MS);
  answers[0]?.();
  await rounds();
  expect(lease.isHeld).toBe(true);
  expect(answers).toHaveLength(2);
  vi.advanceTimersByTime(TOUCH_MS);
  await rounds();
  expect(lease.lost.aborted).toBe(true);
});

it('is not held any more once it was given back', async () => {
  const lease = await hold();
  await lease.release();
  expect(lease.isHeld).toBe(false);
});
