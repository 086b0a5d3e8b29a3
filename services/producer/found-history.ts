import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { identifySource, type SourceIdentity } from '#adapters/postgres/source/source-identity.ts';
import type { TableStructure } from '#core/structure.ts';
import { requireSameCapture } from './capture-guard.ts';
import { findTables } from './choose-tables.ts';
import type { Closers } from './closers.ts';
import { ManifestBook } from './manifest-book.ts';
import type { ProducerParts } from './producer-parts.ts';
import { requireLogicalWal, requireSameSource, requireSameTimeline } from './source-guard.ts';
import { WrittenStructures } from './written-structures.ts';

/** The source as an attempt finds it, and what Kafka has of it. */
export interface FoundHistory {
  /** For all loops of the attempt. */
  readonly client: pg.Client;
  /** Turns into the stream. */
  readonly replication: pg.Client;
  readonly identity: SourceIdentity;
  /** Tables that source.tables chooses. */
  readonly wanted: readonly TableStructure[];
  readonly manifests: ManifestBook;
  readonly written: WrittenStructures;
  /** Kafka has a first plan. Tables that come after it are loaded late: until then nothing of them is captured. */
  readonly isPlanned: boolean;
}

/**
 * Ends other writers and compares source and Kafka with what was before, before anything but the topics of manifests and structures is made.
 * @throws RestageError wherever the two do not belong to each other any more.
 */
export async function findHistory(parts: ProducerParts, closers: Closers): Promise<FoundHistory> {
  const { config, writer, ground } = parts;
  const client = await closers.open(parts.connectShared());
  await requireLogicalWal(client);
  await ground.open();
  const wanted = await findTables(config, client);
  await parts.ensureTopics([]);
  await writer.open();
  const last = await writer.last();
  const replication = await closers.open(parts.connectReplication());
  const identity = await identifySource(replication);
  requireSameSource(identity, last?.manifest ?? null);
  await requireSameTimeline(replication, identity, last?.manifest ?? null);
  await ground.take(client, wanted);
  const { partitions = 1 } = config.kafka;
  const manifests = new ManifestBook({ incarnation: randomUUID(), ...identity, partitions }, last);
  const written = new WrittenStructures(await parts.readStructures());
  requireSameCapture(config, wanted, written);
  const isPlanned = (manifests.last?.plan ?? null) !== null && written.topics.size > 0;
  return { client, replication, identity, wanted, manifests, written, isPlanned };
}
