import { expect, test } from 'vitest';
import { parseLsn } from '#core/lsn.ts';
import { newStatus } from '#core/status.ts';
import { lineProgress, ReplayMeter } from './replay-progress.ts';

test('says how far the load is by its chunks, then the stream by its WAL, and what is left of each in proportion', () => {
  let now = 0;
  const lines: string[] = [];
  const clock = (): number => now;
  const progress = lineProgress((line) => lines.push(line), new ReplayMeter(parseLsn('0/C8'), clock), clock);
  const status = newStatus('sink', 'new');
  const after = (ms: number): void => {
    now += ms;
    progress.show(status);
  };
  status.state = 'loading';
  Object.assign(status.load, { tables: 4, chunks: 10 });
  after(5_000);
  Object.assign(status.load, { tablesDone: 1, chunksDone: 5 });
  status.events.snapshot = 1_000;
  after(5_000);
  status.state = 'streaming';
  status.through = '0/64';
  after(5_000);
  status.through = '0/7D';
  status.events.update = 500;
  after(4_000);
  after(1_000);
  expect(lines).toEqual([
    'replay: 0 %, loading, 0 of 4 tables, 0 of 10 chunks, 0 events, 0 events/s',
    'replay: 50 %, loading, 1 of 4 tables, 5 of 10 chunks, 1000 events, 200 events/s, 5 s left',
    'replay: 0 %, streaming, at 0/64, 1000 events, 0 events/s',
    'replay: 25 %, streaming, at 0/7D, 1500 events, 100 events/s, 15 s left',
  ]);
});

test('says why nothing moves', () => {
  const meter = new ReplayMeter(parseLsn('0/C8'), () => 0);
  const status = newStatus('sink', 'new');
  status.detail = 'waits for the producer to plan the initial load';
  expect(meter.look(status).text).toContain('starting: waits for the producer to plan');
});
