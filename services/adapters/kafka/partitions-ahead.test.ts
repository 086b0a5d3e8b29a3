import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { PartitionsAhead } from './partitions-ahead.ts';

const DATA = { topic: 'rows', partition: 0 };
const OTHER = { topic: 'others', partition: 2 };
const EPOCHS = { topic: 'epochs', partition: 0 };

let done: string[];
let failure: Error | null;
let ahead: PartitionsAhead;

beforeEach(() => {
  vi.useFakeTimers();
  done = [];
  failure = null;
  const does = (what: string): Promise<void> => {
    done.push(what);
    return failure === null ? Promise.resolve() : Promise.reject(failure);
  };
  ahead = new PartitionsAhead({
    add: (places) => does(`add ${places.map(({ topic }) => topic).join(' ')}`),
    end: (places) => does(`end ${[...places].join(' ')}`),
  });
});

afterEach(() => {
  vi.useRealTimers();
});

test('what two transactions wrote to one after the other is there for the third', async () => {
  ahead.committed([DATA, OTHER, EPOCHS]);
  await vi.advanceTimersByTimeAsync(100);
  expect(await ahead.take()).toEqual(new Set());
  ahead.committed([DATA, EPOCHS]);
  await vi.advanceTimersByTimeAsync(100);
  expect(done).toEqual(['add rows epochs']);
  expect(await ahead.take()).toEqual(new Set(['rows/0', 'epochs/0']));
  expect(await ahead.take()).toEqual(new Set());
});

test('a transaction that comes at once begins itself, and one without company is not followed', async () => {
  ahead.committed([DATA, EPOCHS]);
  expect(await ahead.take()).toEqual(new Set());
  ahead.committed([DATA, EPOCHS]);
  expect(await ahead.take()).toEqual(new Set());
  expect(done).toEqual([]);
  ahead.committed([EPOCHS]);
  await vi.advanceTimersByTimeAsync(10_000);
  done = [];
  ahead.committed([DATA, EPOCHS]);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(done).toEqual([]);
});

test('one that nobody came for is ended, once, and by whoever closes', async () => {
  ahead.committed([DATA, EPOCHS]);
  ahead.committed([DATA, EPOCHS]);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(done).toEqual(['add rows epochs', 'end rows/0 epochs/0']);
  expect(await ahead.take()).toEqual(new Set());

  ahead.committed([DATA, EPOCHS]);
  ahead.committed([DATA, EPOCHS]);
  await vi.advanceTimersByTimeAsync(100);
  await ahead.close();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(done.slice(2)).toEqual(['add rows epochs', 'end rows/0 epochs/0']);
});

test('so many partitions that each of their markers would count are not begun ahead', async () => {
  const many = Array.from({ length: 65 }, (_, partition) => ({ topic: 'rows', partition }));
  ahead.committed(many);
  ahead.committed(many);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(done).toEqual([]);
});

test('what failed ahead is told to whoever writes next, and to nobody who closes', async () => {
  failure = new Error('fenced');
  ahead.committed([DATA, EPOCHS]);
  ahead.committed([DATA, EPOCHS]);
  await vi.advanceTimersByTimeAsync(10_000);
  await expect(ahead.take()).rejects.toBe(failure);
  ahead.committed([DATA, EPOCHS]);
  ahead.committed([DATA, EPOCHS]);
  await vi.advanceTimersByTimeAsync(100);
  await ahead.close();
  expect(done).toEqual(['add rows epochs', 'add rows epochs']);
});
