import { expect, test } from 'vitest';
import { formatStatus } from './status.ts';
import type { PipelineStatus } from './status-report.ts';

test('of a target that cannot be asked nothing is said but that', () => {
  const target: PipelineStatus['targets'][number] = {
    name: 'new',
    output: null,
    through: null,
    isLoadDone: false,
    lagBytes: null,
    deadLetters: null,
    heldKeys: null,
    quarantine: 'stop',
    ordering: 'transaction',
    lanes: [],
    replay: null,
    migration: null,
    forecast: {
      state: 'unknown',
      inBytesPerSecond: 0,
      outBytesPerSecond: 0,
      eventsPerSecond: 0,
      secondsLeft: null,
      limitedBy: null,
    },
  };
  const problems = ['target_unreachable: cannot reach the target'];
  const report = { name: 'shop', services: [], source: null, requests: [], problems };
  expect(formatStatus({ ...report, targets: [target] })).toMatch(/\nnew +not known +stop\n\ntarget_unreachable/);
  expect(formatStatus({ ...report, targets: [{ ...target, deadLetters: 0, heldKeys: 0 }] })).toMatch(
    /\nnew +not done /,
  );
});
