import type { Manifest, StoredManifest } from '#core/manifest.ts';
import type { RecordBatch } from '#core/record-batch.ts';

/** Encoded records for one partition, in order. */
export interface PartitionRecords {
  readonly topic: string;
  readonly partition: number;
  readonly batches: readonly RecordBatch[];
}

/** A manifest without what only the broker knows; the writer fills in `ranges` and `total`. */
export type ManifestDraft = Omit<Manifest, 'ranges' | 'format' | 'total'>;

/** How many records of a partition. */
export interface RecordCount {
  readonly topic: string;
  readonly partition: number;
  readonly count: number;
}

/** A manifest, and how many of its transaction's records it names: of each partition those that come after the entries' before it. */
export interface WrittenEntry {
  readonly draft: ManifestDraft;
  readonly counts: readonly RecordCount[];
}

/**
 * Writes epochs to Kafka. One loop owns one writer, one transactional.id and at most one open transaction.
 *
 * Order: calls are made one after another; sends to one partition go one after another; every acknowledgement of data
 * is awaited before the manifest is sent, the manifest's before EndTxn.
 * Acknowledgement: `write` and `writeAll` resolve when the transaction is committed: the data and the manifests are durable and visible
 * together, or (any rejection) the outcome is unknown and this writer is spent. Then: close it, make another, `open` it
 * (InitProducerId completes or aborts what was open), read `last`, and resend or go on. Nothing is retried inside.
 * Duplicates: none, given that protocol.
 * Errors: `fenced` when another holder of the transactional.id is at work, or the broker ended a transaction that took too long: give up
 * the lease, and wait for it as any stand-by does.
 */
export interface EpochWriter {
  /** InitProducerId. Only by the holder of the lease: it ends the transaction of whoever was before. */
  open(): Promise<void>;
  /** The last committed manifest, or null on an empty topic. After `open`, nothing newer can appear but by this writer. */
  last(): Promise<StoredManifest | null>;
  /** `side`: records that belong to the transaction and to no range of the manifest, for readers of their own. */
  write(
    draft: ManifestDraft,
    data: readonly PartitionRecords[],
    side?: readonly PartitionRecords[],
  ): Promise<StoredManifest>;
  /** Several in one transaction, visible together and in this order; their counts are those of `data` together. */
  writeAll(
    entries: readonly WrittenEntry[],
    data: readonly PartitionRecords[],
    side?: readonly PartitionRecords[],
  ): Promise<StoredManifest[]>;
  close(): Promise<void>;
}
