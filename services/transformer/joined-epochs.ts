import type { RecordCount } from '#core/epoch-writer.ts';
import type { Lsn } from '#core/lsn.ts';
import { isUncutEpoch, type StoredManifest } from '#core/manifest.ts';
import { TopicBatches } from '#core/topic-batches.ts';
import type { ByteWriters } from '#core/byte-writers.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { countedOps, type OpCounts } from './epoch-figures.ts';
import type { EventShaper } from './event-shaper.ts';
import { shapeRanges } from './shape-ranges.ts';

export interface JoinedOptions {
  readonly reader: EpochReader;
  readonly rawSchemasTopic: string;
  readonly shaper: EventShaper;
  readonly snapshots: ReadonlyMap<string, Lsn>;
  readonly floorOf: (topic: string) => Lsn;
  readonly writers: ByteWriters;
}

/** An epoch among those that are written together. */
export interface JoinedEpoch {
  readonly stored: StoredManifest;
  readonly ops: OpCounts;
  readonly counts: readonly RecordCount[];
  /** A row's key changed behind the rules. */
  readonly isJoint: boolean;
}

export interface JoinedEpochs {
  readonly epochs: readonly JoinedEpoch[];
  readonly data: TopicBatches;
  readonly side: TopicBatches;
}

/** A Kafka transaction takes some ten milliseconds, however little is in it; of half an epoch's default size more is not faster. */
const JOINED_BYTES = 2 * 1024 * 1024;

/**
 * Shapes the whole epochs at the head of these manifests, which wait behind each other, for one Kafka transaction: an output that is behind
 * pays for a transaction once for many. Incomplete when aborted: not to be written then. @throws whatever the rules say of any of them.
 */
export async function shapeJoined(
  { reader, rawSchemasTopic, shaper, snapshots, floorOf, writers }: JoinedOptions,
  manifests: readonly StoredManifest[],
  signal: AbortSignal,
): Promise<JoinedEpochs> {
  const out = { data: new TopicBatches(writers), side: new TopicBatches(), floorOf };
  const epochs: JoinedEpoch[] = [];
  for (const stored of manifests) {
    if (!isUncutEpoch(stored.manifest) || out.data.bytes >= JOINED_BYTES || signal.aborted) break;
    await shaper.learn(stored.manifest, signal);
    const ops = countedOps('');
    await shapeRanges({ reader, rawSchemasTopic, shaper, stored, floors: snapshots }, out, ops, signal);
    epochs.push({ stored, ops, counts: out.data.takeCounts(), isJoint: shaper.takeJoint() });
  }
  return { epochs, data: out.data, side: out.side };
}
