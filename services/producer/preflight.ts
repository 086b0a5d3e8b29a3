import type pg from 'pg';
import { createConnectionPool, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { requireReadyKafka } from '#adapters/kafka/creation-probe.ts';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { readDecidedManifest } from '#adapters/kafka/last-manifest.ts';
import { requireReadyRegistry } from '#adapters/registry/converters.ts';
import { readChosenTables } from '#adapters/postgres/catalog.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { requirePublishable } from '#adapters/postgres/source/publication.ts';
import { readSlot, requireOwnWalsender, requireSlotRoom } from '#adapters/postgres/source/slot.ts';
import { flushedLsn, identifySource } from '#adapters/postgres/source/source-identity.ts';
import { majorOf } from '#adapters/postgres/target/structure-archive.ts';
import type { Config } from '#core/config.ts';
import type { Logger } from '#core/log.ts';
import type { Manifest } from '#core/manifest.ts';
import type { TableStructure } from '#core/structure.ts';
import { schemasTopic } from '#core/topic-names.ts';
import { isOwnSlot, requireOwnSlot } from './birth.ts';
import { requireSameCapture } from './capture-guard.ts';
import { requireCapturable } from './choose-tables.ts';
import { requireLogicalWal, requireSameSource, requireSameTimeline } from './source-guard.ts';
import { createSourceGround } from './source-ground.ts';
import { WrittenStructures } from './written-structures.ts';

export interface ReadySource {
  readonly tables: readonly TableStructure[];
  /** The last manifest in Kafka; null before the pipeline's birth. */
  readonly last: Manifest | null;
  /** 15 of PostgreSQL 15.18. */
  readonly major: number;
}

/**
 * What a producer would refuse, asked before anything is made: no topic, publication or slot comes of a start that fails here.
 * A running producer is not disturbed, so a stand-by passes.
 * @throws RestageError of the first thing that is wrong: source, then Kafka, then what both say of the slot.
 */
export async function requireReadySource(config: Config, logger: Logger): Promise<ReadySource> {
  const { url, slot: name, publication } = config.source;
  const application = `restage ${config.name} preflight`;
  const client = await connectPg({ url, purpose: 'source', application });
  const pool = createConnectionPool(config.kafka, { clientId: application, logger });
  // A walsender session, which the role and pg_hba.conf must allow.
  let replication: pg.Client | null = null;
  try {
    await requireLogicalWal(client);
    const tables = await readChosenTables(client, config);
    await requireCapturable(client, config, tables);
    replication = await connectPg({ url, purpose: 'source', application, replication: true });
    const identity = await identifySource(replication);
    await requireReadyKafka(pool, config.name, config.kafka.replicationFactor);
    const ground = createSourceGround({
      pool,
      prefix: config.name,
      partitions: config.kafka.partitions ?? 1,
      publication,
      logger,
      clock: Date.now,
    });
    await ground.open();
    await requireReadyRegistry(config);
    // The slot first: what it has confirmed is in Kafka by then (invariant 1).
    let slot = await readSlot(client, name);
    const readLast = () => readDecidedManifest(pool, config.name, (manifest) => isOwnSlot(name, slot, manifest));
    let last = await readLast();
    if (slot === null && last !== null) {
      // One that is being born meanwhile is no missing one.
      slot = await readSlot(client, name);
      last = await readLast();
    }
    // Asked after Kafka: a producer that runs meanwhile moves both on.
    requireSameSource({ ...identity, position: await flushedLsn(client) }, last);
    await requireSameTimeline(replication, identity, last);
    await ground.take(client, tables);
    await requireOwnWalsender(client, name, slot, `restage ${config.name} producer`);
    requireOwnSlot(name, slot, last);
    if (slot === null) await requireSlotRoom(client, name);
    const written = await readWritten(pool, config.name, last);
    if (written !== null) requireSameCapture(config, tables, written);
    await requirePublishable(client, withoutLate(written, tables), {
      name: publication,
      pipeline: config.name,
      isFirst: written === null,
    });
    return { tables, last, major: await majorOf(client) };
  } finally {
    await Promise.all([client.end(), replication?.end(), pool.close()]);
  }
}

/** null before the first plan. */
async function readWritten(
  pool: ConnectionPool,
  name: string,
  last: Manifest | null,
): Promise<WrittenStructures | null> {
  const topic = schemasTopic(name);
  if ((last?.plan ?? null) === null || !(await pool.isThere(topic))) return null;
  return new WrittenStructures((await readCompacted(pool, topic)).values());
}

/** Tables that came after the first plan need no publication to start: they are loaded once it has them. */
function withoutLate(written: WrittenStructures | null, tables: readonly TableStructure[]): readonly TableStructure[] {
  if (written === null || written.topics.size === 0) return tables;
  return tables.filter((table) => written.hasTopic(table.topic));
}
