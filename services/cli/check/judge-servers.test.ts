import { expect, test } from 'vitest';
import {
  judgeAge,
  judgeClock,
  judgeCollation,
  judgeConnections,
  judgePooler,
  judgeRoundTrip,
  judgeSight,
  judgeStandby,
  judgeTransactions,
} from './judge-servers.ts';

test('a clock that is off by more than half a second is named, as far as the way to it lets one say', () => {
  const at = { name: 'target new', roundTripMs: 4 };
  expect(judgeClock({ ...at, skewMs: -90_000 })).toMatchObject([
    { evidence: 'target new: -90.0 s from the clock here', fix: 'let NTP set the clocks of all machines' },
  ]);
  expect(judgeClock({ ...at, skewMs: 505 })).toHaveLength(1);
  expect(judgeClock({ ...at, skewMs: 504 })).toEqual([]);
  expect(judgeClock({ ...at, skewMs: 900, roundTripMs: 400 })).toEqual([]);
});

test('a long way to a server says which service is to be nearer', () => {
  expect(judgeRoundTrip({ name: 'source', roundTripMs: 80, skewMs: 0 })).toMatchObject([
    { evidence: 'source: 80 ms', fix: 'run the producer near the source' },
  ]);
  expect(judgeRoundTrip({ name: 'target new', roundTripMs: 21, skewMs: 0 })).toMatchObject([
    { fix: 'run this sink near its target' },
  ]);
  expect(judgeRoundTrip({ name: 'source', roundTripMs: 20, skewMs: 0 })).toEqual([]);
});

test('a stand-by may be read from version 16 on, and keeps what decoding needs by its feedback', () => {
  expect(judgeStandby(15, 'on')).toMatchObject([{ fix: "name the primary in the source's url" }]);
  expect(judgeStandby(16, 'off')).toMatchObject([{ severity: 'warn', evidence: 'hot_standby_feedback = off' }]);
  expect(judgeStandby(16, 'on')).toEqual([]);
});

test('a source that is half way to a wraparound is to be frozen before the load', () => {
  expect(judgeAge(1_200_000_000)).toMatchObject([
    { evidence: 'the oldest transaction is 1200000000 transactions old', fix: expect.stringContaining('FREEZE') },
  ]);
  expect(judgeAge(999_999_999)).toEqual([]);
});

test('transactions that are open for more than a minute are named, with the statement that ends them', () => {
  const open = [
    { pid: 7, seconds: 3_600.4, state: 'idle in transaction' },
    { pid: 8, seconds: 60, state: 'active' },
    { pid: 9, seconds: 61, state: null },
  ];
  expect(judgeTransactions(open)).toMatchObject([
    {
      evidence: 'process 7, 3600 s, idle in transaction, process 9, 61 s, unknown',
      fix: 'wait for them, or: SELECT pg_terminate_backend(7); SELECT pg_terminate_backend(9);',
    },
  ]);
  expect(judgeTransactions(open.slice(1, 2))).toEqual([]);
});

test('connections are counted with those of the load', () => {
  expect(judgeConnections({ free: 5, most: 100 }, 2)).toMatchObject([
    {
      what: 'too few free connections: 6 are needed',
      evidence: '5 of 100 are free',
      fix: expect.stringContaining('max_connections = 111;'),
    },
  ]);
  expect(judgeConnections({ free: 6, most: 100 }, 2)).toEqual([]);
  expect(judgeConnections({ free: 6, most: 100 }, 3)).toHaveLength(1);
});

test('another order of text is a warning, another version of the same library to know', () => {
  const ours = { collate: 'en_US.UTF-8', ctype: 'en_US.UTF-8', provider: 'c', locale: '', version: '2.36' };
  expect(judgeCollation(ours, ours)).toEqual([]);
  expect(judgeCollation({ ...ours, version: '2.41' }, ours)).toMatchObject([
    { severity: 'info', evidence: expect.stringContaining('version 2.41; the source: ') },
  ]);
  expect(judgeCollation({ ...ours, collate: 'C' }, ours)).toMatchObject([
    {
      severity: 'warn',
      evidence: expect.stringMatching(/^C\/en_US\.UTF-8/),
      fix: expect.stringContaining('template0'),
    },
  ]);
  expect(judgeCollation({ ...ours, provider: 'i', locale: 'de', version: '2.41' }, ours)).toMatchObject([
    { severity: 'warn' },
  ]);
});

test('a pooler is known by the process numbers that it makes up, and one that lends sessions by two that are one', () => {
  const pair = { name: 'target new', told: 11, first: 11, second: 12 };
  expect(judgePooler(pair)).toEqual([]);
  expect(judgePooler({ ...pair, told: 4_711 })).toMatchObject([
    { severity: 'warn', evidence: 'target new: the session was told process 4711, and is process 11' },
  ]);
  expect(judgePooler({ ...pair, told: 4_711, second: 11 })).toMatchObject([
    { severity: 'block', evidence: 'target new: two sessions are one process of the server, 11' },
  ]);
});

test('who may not see what others do is told whom to ask for the right', () => {
  const role = { name: 'source', role: 'app' };
  expect(judgeSight({ ...role, sees: true })).toEqual([]);
  expect(judgeSight({ ...role, sees: false })).toMatchObject([
    { fix: expect.stringContaining('GRANT pg_read_all_stats TO app;') },
  ]);
});
