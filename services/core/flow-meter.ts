import { parseLsn } from '#core/lsn.ts';
import type { ServiceStatus } from '#core/status.ts';

/** How a service moved over the last half minute, by its own figures. */
export interface FlowFigures {
  /** What the figures are taken over. */
  readonly seconds: number;
  /** By how much `through` moved: bytes of the source's WAL a second. */
  readonly bytesPerSecond: number;
  readonly eventsPerSecond: number;
  /** Of the load. */
  readonly chunksPerSecond: number;
  /** Part of the time, 0 to 1, in which the loop waited for input: one that is the bottleneck hardly does. */
  readonly waitingShare: number;
  /** Processor time of the process as a part of one core; above 1 when several of its threads work. */
  readonly cpuShare: number;
}

export type FlowSource = Pick<ServiceStatus, 'through' | 'events' | 'load'>;

interface Sample {
  readonly at: number;
  readonly through: bigint | null;
  readonly events: number;
  readonly chunks: number;
  readonly waitedMs: number;
  readonly cpuMs: number;
}

/** Long enough for a rate, short enough to see a change soon. */
const WINDOW_MS = 30_000;

/** Samples in, figures out. `at`, `waitedMs` and `cpuMs` are milliseconds; the last two only grow. */
export class FlowMeter {
  #samples: readonly Sample[] = [];

  /** null for the first sample, which there is nothing to compare with. */
  note(source: FlowSource, at: number, waitedMs: number, cpuMs: number): FlowFigures | null {
    const { through, events, load } = source;
    const sample: Sample = {
      at,
      through: through === '' ? null : parseLsn(through),
      events: Object.values(events).reduce((sum, count) => sum + count, 0),
      chunks: load.chunksDone,
      waitedMs,
      cpuMs,
    };
    this.#samples = [...this.#samples.filter((earlier) => earlier.at >= at - WINDOW_MS), sample];
    const [first] = this.#samples;
    return first === undefined || first.at === at ? null : figuresOf(first, sample);
  }
}

/** A load begun anew counts its chunks from 0: a rate is never below that. */
function figuresOf(first: Sample, last: Sample): FlowFigures {
  const ms = last.at - first.at;
  const perSecond = (difference: number): number => Math.max(0, (difference * 1000) / ms);
  const moved = first.through === null || last.through === null ? 0 : Number(last.through - first.through);
  return {
    seconds: ms / 1000,
    bytesPerSecond: perSecond(moved),
    eventsPerSecond: perSecond(last.events - first.events),
    chunksPerSecond: perSecond(last.chunks - first.chunks),
    waitingShare: Math.min(1, Math.max(0, (last.waitedMs - first.waitedMs) / ms)),
    cpuShare: Math.max(0, (last.cpuMs - first.cpuMs) / ms),
  };
}
