import type { EpochReader } from '#core/epoch-reader.ts';
import type { WaitMeter } from '#core/wait-meter.ts';

/** A reader whose loop's waits for the next manifests are counted. */
export function waitingReader(reader: EpochReader, waits: WaitMeter): EpochReader {
  return {
    manifests: (from, signal) => waits.through(reader.manifests(from, signal)),
    read: (range, signal) => reader.read(range, signal),
    last: () => reader.last(),
    end: () => reader.end(),
    close: () => reader.close(),
  };
}
