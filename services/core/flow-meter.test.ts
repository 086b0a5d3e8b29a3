import { expect, test } from 'vitest';
import { FlowMeter } from '#core/flow-meter.ts';
import { newStatus } from '#core/status.ts';

function at(through: string, insert: number, chunksDone = 0): ReturnType<typeof newStatus> {
  const status = newStatus('sink', 'new');
  status.through = through;
  status.events.insert = insert;
  status.load.chunksDone = chunksDone;
  return status;
}

test('rates and shares are those of the last half minute', () => {
  const flow = new FlowMeter();
  expect(flow.note(at('0/0', 0), 0, 0, 0)).toBeNull();
  expect(flow.note(at('0/1000', 100, 4), 2_000, 500, 1_800)).toEqual({
    seconds: 2,
    bytesPerSecond: 2048,
    eventsPerSecond: 50,
    chunksPerSecond: 2,
    waitingShare: 0.25,
    cpuShare: 0.9,
  });
  // What is older is forgotten: from 30 s to 60 s nothing moved and everything was waited for.
  flow.note(at('0/9000', 900, 4), 30_000, 1_000, 9_000);
  expect(flow.note(at('0/9000', 900, 4), 60_000, 31_000, 9_000)).toEqual({
    seconds: 30,
    bytesPerSecond: 0,
    eventsPerSecond: 0,
    chunksPerSecond: 0,
    waitingShare: 1,
    cpuShare: 0,
  });
});

test('before there is a position, and when a load counts its chunks anew, no rate is invented', () => {
  const flow = new FlowMeter();
  flow.note(at('', 0, 9), 0, 0, 0);
  expect(flow.note(at('0/5000', 0, 1), 1_000, 0, 0)).toMatchObject({ bytesPerSecond: 0, chunksPerSecond: 0 });
});
