import { expect, test } from 'vitest';
import { newStatus, noteAge, noteEpochPart } from '#core/status.ts';

test('age is of the stream: an idle source is not behind, and a chunk says nothing', () => {
  const status = newStatus('producer', '');
  const commitTime = '40000000';
  noteAge(status, { kind: 'stream', commitTime }, 42_500);
  expect(status.lagSeconds).toBe(2.5);
  noteAge(status, { kind: 'chunk', commitTime }, 99_000);
  expect(status.lagSeconds).toBe(2.5);
  noteAge(status, { kind: 'empty', commitTime }, 99_000);
  expect(status.lagSeconds).toBe(0);
});

test('an epoch is as large as all its parts', () => {
  const status = newStatus('producer', '');
  const part = { events: 10, bytes: 100, seconds: 0.5 };
  noteEpochPart(status, { epoch: 4, part: 1 }, part);
  noteEpochPart(status, { epoch: 4, part: 2 }, part);
  expect(status).toMatchObject({ epoch: 4, lastEpochEvents: 20, lastEpochBytes: 200, lastEpochSeconds: 1 });
  noteEpochPart(status, { epoch: 5, part: 1 }, part);
  expect(status).toMatchObject({ epoch: 5, lastEpochEvents: 10, lastEpochBytes: 100, lastEpochSeconds: 0.5 });
});
