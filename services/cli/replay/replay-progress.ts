import { SingleBar } from 'cli-progress';
import { parseLsn, type Lsn } from '#core/lsn.ts';
import type { ServiceStatus } from '#core/status.ts';

/** How far a replay is; called now and then. */
export interface ReplayProgress {
  show(status: ServiceStatus): void;
  end(): void;
}

const LINE_INTERVAL_MS = 5_000;

/** A bar with ETA on a terminal, else a line every five seconds. */
export function makeReplayProgress(stream: NodeJS.WriteStream, goal: Lsn, clock: () => number): ReplayProgress {
  const meter = new ReplayMeter(goal, clock);
  if (!stream.isTTY) return lineProgress((line) => stream.write(`${line}\n`), meter, clock);
  const bar = new SingleBar({
    stream,
    hideCursor: true,
    clearOnComplete: true,
    format: 'replay {bar} {percentage} % | {what}',
  });
  bar.start(100, 0, { what: '' });
  return {
    show(status) {
      const { percent, text } = meter.look(status);
      bar.update(percent, { what: text });
    },
    end: () => bar.stop(),
  };
}

export function lineProgress(write: (line: string) => void, meter: ReplayMeter, clock: () => number): ReplayProgress {
  let saidAt = clock();
  return {
    show(status) {
      if (clock() - saidAt < LINE_INTERVAL_MS) return;
      saidAt = clock();
      const { percent, text } = meter.look(status);
      write(`replay: ${percent} %, ${text}`);
    },
    end: () => undefined,
  };
}

/**
 * What is done of a replay's present stage: of the load's chunks, or of the WAL between where its stream began and where it ends. The time
 * left is what the stage took so far, in proportion.
 */
export class ReplayMeter {
  readonly #goal: Lsn;
  readonly #clock: () => number;
  #stage = '';
  #since = 0;
  #startedAt: Lsn | null = null;
  #before = 0;

  constructor(goal: Lsn, clock: () => number) {
    this.#goal = goal;
    this.#clock = clock;
  }

  look(status: ServiceStatus): { percent: number; text: string } {
    const { state, load, through, detail } = status;
    const records = countOf(status);
    if (state !== this.#stage) {
      this.#stage = state;
      this.#since = this.#clock();
      this.#before = records;
      this.#startedAt = null;
    }
    const isLoading = state === 'loading';
    const done = isLoading ? ratio(load.chunksDone, load.chunks) : this.#streamed(through);
    const seconds = (this.#clock() - this.#since) / 1_000;
    const rate = seconds > 0 ? Math.round((records - this.#before) / seconds) : 0;
    const left = done > 0 && done < 1 && seconds > 0 ? `, ${Math.ceil((seconds * (1 - done)) / done)} s left` : '';
    const where = isLoading
      ? `${load.tablesDone} of ${load.tables} tables, ${load.chunksDone} of ${load.chunks} chunks`
      : through === ''
        ? 'at the beginning'
        : `at ${through}`;
    const why = detail === '' || state === 'streaming' ? '' : `: ${detail.split('\n')[0] ?? ''}`;
    return {
      percent: Math.floor(done * 100),
      text: `${state}${why}, ${where}, ${records} events, ${rate} events/s${left}`,
    };
  }

  #streamed(through: string): number {
    if (through === '') return 0;
    const at = parseLsn(through);
    this.#startedAt ??= at;
    const whole = this.#goal - this.#startedAt;
    return whole <= 0n ? 1 : Math.min(1, ratio(Number(at - this.#startedAt), Number(whole)));
  }
}

/** Rows and changes applied, a TRUNCATE being one. */
export function countOf({ events }: Pick<ServiceStatus, 'events'>): number {
  return Object.values(events).reduce((sum, count) => sum + count, 0);
}

function ratio(part: number, whole: number): number {
  return whole <= 0 ? 0 : part / whole;
}
