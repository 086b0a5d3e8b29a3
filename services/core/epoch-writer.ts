import type { Manifest, ManifestRange, StoredManifest } from '#core/manifest.ts';
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
  /** Records of others that it names too: they are committed. */
  readonly ranges?: readonly ManifestRange[];
}

/**
 * Writes epochs to Kafka. One loop owns one writer, one transactional.id and at most one open transaction.
 *
 * Order: calls are made one after another; batches of one partition are sent in their order on one connection, a few of them before the
 * first is acknowledged; manifests go with the data where it is foreseen where that will stand, else after its acknowledgement. Every
 * acknowledgement is awaited before EndTxn, and one that tells another place than was foreseen ends the transaction uncommitted.
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
