import type { ManifestRange, StoredManifest } from '#core/manifest.ts';
import type { KafkaRecord } from '#core/record.ts';

/**
 * Reads a stream of epochs. Manifests come read_committed; a visible manifest proves that its transaction is
 * decided, so the data it names is fetched read_uncommitted by exact offsets.
 *
 * Order: manifests in offset order; records of a range in offset order. Duplicates: none.
 * Concurrency: `read` may be called for several ranges at once; `manifests` by one loop.
 * Errors: a later offset or a log start past a range is `history_lost`; a short fetch waits.
 * It never reads past what a manifest names.
 */
export interface EpochReader {
  /** Manifests from this offset on, in arrays as they arrive; waits for more at the end until aborted. */
  manifests(from: bigint, signal: AbortSignal): AsyncIterable<readonly StoredManifest[]>;
  /** The records of a range, in arrays of a few megabytes at most. */
  read(range: ManifestRange, signal: AbortSignal): AsyncIterable<readonly KafkaRecord[]>;
  /** The last committed manifest, wherever `manifests` is; null before the first. */
  last(): Promise<StoredManifest | null>;
  /** The offset after the last committed manifest, to know when `manifests` has caught up. */
  end(): Promise<bigint>;
  close(): Promise<void>;
}
