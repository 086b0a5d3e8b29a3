import { pause } from '#core/backoff.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import type { TokenBucket } from '#core/token-bucket.ts';

/** A reader whose records come at the bucket's rate; structures, which are no events, come at once. */
export function pacedReader(reader: EpochReader, bucket: TokenBucket, schemasTopic: string): EpochReader {
  return {
    manifests: (from, signal) => reader.manifests(from, signal),
    async *read(range, signal) {
      for await (const records of reader.read(range, signal)) {
        const waitMs = range.topic === schemasTopic ? 0 : bucket.take(records.length);
        if (waitMs > 0) await pause(waitMs, signal);
        yield records;
      }
    },
    last: () => reader.last(),
    end: () => reader.end(),
    close: () => reader.close(),
  };
}
