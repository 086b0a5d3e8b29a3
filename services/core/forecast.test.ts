import { expect, test } from 'vitest';
import { forecast, type Bottleneck, type Stage } from '#core/forecast.ts';

const LOADED = { tables: 1, tablesDone: 1, chunks: 10, chunksDone: 10, rows: 5, isDone: true };

interface StageFigures {
  readonly waiting: number;
  readonly cpu?: number;
  readonly lag?: number;
  readonly bytes?: number;
}

function stage(service: Stage['service'], { waiting, cpu = 0.1, lag = 0, bytes = 1_000 }: StageFigures): Stage {
  const flow = {
    seconds: 60,
    bytesPerSecond: bytes,
    eventsPerSecond: 7,
    chunksPerSecond: 2,
    waitingShare: waiting,
    cpuShare: cpu,
  };
  return { service, state: 'streaming', lagEvents: lag, load: LOADED, flow };
}

test('what waits is worked off by as much as more goes than comes', () => {
  const stages = [stage('producer', { waiting: 0.9 }), stage('sink', { waiting: 0.1, lag: 500, bytes: 3_000 })];
  expect(forecast(stages, 20_000, 1_000)).toEqual({
    state: 'catching up',
    inBytesPerSecond: 1_000,
    outBytesPerSecond: 3_000,
    eventsPerSecond: 7,
    secondsLeft: 10,
    limitedBy: 'target',
  });
});

test('as much comes as goes, or more: it never gets there', () => {
  const stages = [stage('producer', { waiting: 0.9 }), stage('sink', { waiting: 0, cpu: 0.95, lag: 500 })];
  expect(forecast(stages, 20_000, 1_000)).toMatchObject({
    state: 'falling behind',
    secondsLeft: null,
    limitedBy: 'sink',
  });
});

test('a pipeline whose loops wait for input and leave nothing behind is there', () => {
  const stages = [stage('producer', { waiting: 0.9 }), stage('sink', { waiting: 0.9 })];
  expect(forecast(stages, 300, 1_000)).toMatchObject({ state: 'caught up', secondsLeft: 0, limitedBy: null });
});

test('a load takes as long as its chunks', () => {
  const sink = { ...stage('sink', { waiting: 0.2 }), load: { ...LOADED, chunksDone: 4, isDone: false } };
  expect(forecast([stage('producer', { waiting: 0.9 }), sink], 9, 9)).toMatchObject({
    state: 'loading',
    secondsLeft: 3,
  });
});

test.each<[Bottleneck, StageFigures, StageFigures, StageFigures]>([
  ['source decoding', { waiting: 0.8 }, { waiting: 0.9 }, { waiting: 0.9, lag: 3 }],
  ['producer', { waiting: 0.1, cpu: 0.9 }, { waiting: 0.9 }, { waiting: 0.9, lag: 3 }],
  ['Kafka', { waiting: 0.1, cpu: 0.2 }, { waiting: 0.9 }, { waiting: 0.9, lag: 3 }],
  ['transformer', { waiting: 0.9 }, { waiting: 0.1, cpu: 0.9, lag: 9 }, { waiting: 0.9 }],
  ['Kafka', { waiting: 0.9 }, { waiting: 0.1, cpu: 0.4, lag: 9 }, { waiting: 0.9 }],
  ['sink', { waiting: 0.9 }, { waiting: 0.9 }, { waiting: 0, cpu: 0.8, lag: 9 }],
  ['target', { waiting: 0.9 }, { waiting: 0.9 }, { waiting: 0, cpu: 0.3, lag: 9 }],
])('%s is what holds back', (bottleneck, producer, transformer, sink) => {
  const stages = [stage('producer', producer), stage('transformer', transformer), stage('sink', sink)];
  expect(forecast(stages, 20_000, 500).limitedBy).toBe(bottleneck);
});

test('while somebody on the way is paused there is no telling', () => {
  const sink = { ...stage('sink', { waiting: 0, lag: 3 }), state: 'paused' as const };
  expect(forecast([stage('producer', { waiting: 0.9 }), sink], 9, 9)).toMatchObject({
    state: 'paused',
    limitedBy: null,
  });
});

test('a service that is down, or has not yet looked twice, makes no forecast up', () => {
  const sink = { ...stage('sink', { waiting: 0 }), flow: null };
  expect(forecast([stage('producer', { waiting: 0 }), sink], 1, 1).state).toBe('unknown');
  const producer = { ...stage('producer', { waiting: 0 }), flow: null };
  expect(forecast([producer, stage('sink', { waiting: 0, lag: 9 })], 1, 0).limitedBy).toBeNull();
});
