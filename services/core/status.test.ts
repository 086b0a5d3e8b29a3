import { expect, test } from 'vitest';
import { newStatus, noteAge } from '#core/status.ts';

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
