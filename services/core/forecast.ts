import type { FlowFigures } from '#core/flow-meter.ts';
import type { ServiceStatus } from '#core/status.ts';

/** What holds a pipeline back: a service, or what it waits for. */
export type Bottleneck = 'source decoding' | 'producer' | 'Kafka' | 'transformer' | 'sink' | 'target';

/** Whether a target gets there, and when, if all goes on as it did in the last half minute. */
export interface Forecast {
  /** `paused`: some stage on the way was told to stand. */
  readonly state: 'loading' | 'caught up' | 'catching up' | 'falling behind' | 'paused' | 'unknown';
  /** WAL that the source writes, bytes a second. */
  readonly inBytesPerSecond: number;
  /** By how much the target's position moves, bytes of that WAL a second. */
  readonly outBytesPerSecond: number;
  readonly eventsPerSecond: number;
  /** Until the load's chunks are in, or until nothing waits; null where that is never, or cannot be told. */
  readonly secondsLeft: number | null;
  /** null where nothing is held back, or it cannot be told by what. */
  readonly limitedBy: Bottleneck | null;
}

/** A service on the way to the target, as it says of itself. */
export interface Stage {
  readonly service: ServiceStatus['service'];
  readonly state: ServiceStatus['state'] | 'down';
  readonly lagEvents: number;
  readonly load: ServiceStatus['load'] | null;
  readonly flow: FlowFigures | null;
}

/** A loop that waits for input this long, or longer, could do more. */
const IDLE_SHARE = 0.5;
/** From here on the process's own work is what its loop waits for: JavaScript runs on one core. */
const BUSY_SHARE = 0.7;
const WRITES_TO = { producer: 'Kafka', transformer: 'Kafka', sink: 'target' } as const;

const UNKNOWN: Forecast = {
  state: 'unknown',
  inBytesPerSecond: 0,
  outBytesPerSecond: 0,
  eventsPerSecond: 0,
  secondsLeft: null,
  limitedBy: null,
};

/**
 * `stages`: producer, transformer where there is one, sink. `lagBytes`: WAL between the source's end and the target's position; null
 * when one of them is not known. `inBytesPerSecond`: WAL that the source writes.
 */
export function forecast(stages: readonly Stage[], lagBytes: number | null, inBytesPerSecond: number | null): Forecast {
  if (stages.some(({ state }) => state === 'paused')) return { ...UNKNOWN, state: 'paused' };
  const sink = stages.at(-1);
  if (sink?.flow == null || lagBytes === null || inBytesPerSecond === null) return UNKNOWN;
  const { bytesPerSecond, eventsPerSecond, chunksPerSecond } = sink.flow;
  const limitedBy = bottleneckOf(stages);
  const figures = { inBytesPerSecond, outBytesPerSecond: bytesPerSecond, eventsPerSecond };
  if (sink.load !== null && !sink.load.isDone) {
    const left = sink.load.chunks - sink.load.chunksDone;
    const secondsLeft = sink.load.chunks === 0 || chunksPerSecond === 0 ? null : left / chunksPerSecond;
    return { state: 'loading', ...figures, secondsLeft, limitedBy };
  }
  if (stages.every(isIdle)) return { state: 'caught up', ...figures, secondsLeft: 0, limitedBy: null };
  const gain = bytesPerSecond - inBytesPerSecond;
  if (gain <= 0) return { state: 'falling behind', ...figures, secondsLeft: null, limitedBy };
  return { state: 'catching up', ...figures, secondsLeft: lagBytes / gain, limitedBy };
}

function isIdle({ flow, lagEvents }: Stage): boolean {
  return lagEvents === 0 && flow !== null && flow.waitingShare >= IDLE_SHARE;
}

/** The stage that waits least for the one before it; where all of them wait for theirs, it is what the first one reads. */
function bottleneckOf(stages: readonly Stage[]): Bottleneck | null {
  const known = stages.flatMap(({ service, flow }) => (flow === null ? [] : [{ service, flow }]));
  if (known.length < stages.length) return null;
  const [least] = known.toSorted((one, other) => one.flow.waitingShare - other.flow.waitingShare);
  if (least === undefined) return null;
  if (least.flow.waitingShare >= IDLE_SHARE) return 'source decoding';
  return least.flow.cpuShare >= BUSY_SHARE ? least.service : WRITES_TO[least.service];
}
