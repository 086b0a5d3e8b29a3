import { expect, test } from 'vitest';
import type { SourceEvent } from './event.ts';
import { NO_MARK, StreamMark } from './stream-mark.ts';

interface Told {
  readonly commit: bigint | null;
  readonly lsn: bigint;
  readonly key: string;
  readonly micros?: bigint;
}

/** Which of the events are taken. */
function taken(mark: StreamMark, events: readonly Told[]): string[] {
  return events
    .filter(({ commit, lsn, key, micros = 1n }) => {
      const place = { lastCommit: commit, lsn };
      const event: SourceEvent = {
        topic: 't',
        partition: 0,
        offset: 0n,
        op: 'u',
        server: 'dbz',
        table: { schema: 'public', table: 't' },
        before: null,
        after: null,
        key: null,
        snapshot: 'false',
        place,
        micros,
        transaction: null,
        isMoved: false,
      };
      return !mark.isRepeat(event, place, key);
    })
    .map(({ key }) => key);
}

const FIRST: readonly Told[] = [
  { commit: 10n, lsn: 12n, key: 'a' },
  { commit: 10n, lsn: 15n, key: 'b' },
  // Of one COPY: they share a place.
  { commit: 10n, lsn: 20n, key: 'c' },
  { commit: 10n, lsn: 20n, key: 'd' },
  // Began before the first one, and committed after it: a lower LSN, a later place.
  { commit: 30n, lsn: 11n, key: 'e' },
  { commit: 30n, lsn: 40n, key: 'a2' },
];

test('what is told again is dropped, from any point on, and what is new is taken', () => {
  for (let from = 0; from < FIRST.length; from += 1) {
    for (let upTo = from; upTo <= FIRST.length; upTo += 1) {
      const mark = new StreamMark(NO_MARK);
      const repeated = [...FIRST.slice(0, upTo), ...FIRST.slice(from)];
      expect(taken(mark, repeated), `${from} after ${upTo}`).toEqual(FIRST.map(({ key }) => key));
    }
  }
});

test('the mark outlives its process', () => {
  const before = new StreamMark(NO_MARK);
  taken(before, FIRST.slice(0, 3));
  expect(taken(new StreamMark(before.state), FIRST)).toEqual(['d', 'e', 'a2']);
});

test('the first transaction of a new life counts as new, and what follows it', () => {
  const mark = new StreamMark(NO_MARK);
  taken(mark, FIRST);
  const life: readonly Told[] = [
    { commit: null, lsn: 35n, key: 'x' },
    { commit: 36n, lsn: 37n, key: 'y' },
  ];
  expect(taken(mark, life)).toEqual(['x', 'y']);
  expect(taken(mark, life.slice(1))).toEqual([]);
});

test('a later time at an earlier place is another WAL', () => {
  const mark = new StreamMark(NO_MARK);
  taken(mark, FIRST);
  expect(() => taken(mark, [{ commit: 5n, lsn: 6n, key: 'z', micros: 99n }])).toThrow('a later time');
});
