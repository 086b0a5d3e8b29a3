import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { requireRegistry } from '#adapters/registry/schema-registry.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { readTopicStates } from '#adapters/postgres/target/debezium-state.ts';
import { findCheckpoint } from '#adapters/postgres/target/target-state.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import type { DebeziumSourceConfig } from '#core/debezium-source/options.ts';
import type { Logger } from '#core/log.ts';
import { requireStateSchema } from '../preflight.ts';
import { requireOwnState, requireReplica } from './debezium-sink.ts';
import { listTableTopics } from './topic-set.ts';

/**
 * What a sink of Debezium's topics would refuse, asked before anything is made.
 * @throws RestageError of the first thing that is wrong: target, then registry, then topics and what the target says of them.
 */
export async function requireReadyDebezium(
  config: Config,
  source: DebeziumSourceConfig,
  target: TargetConfig,
  logger: Logger,
): Promise<void> {
  const application = `restage ${config.name} preflight`;
  const client = await connectPg({ url: target.url, purpose: 'target', application });
  const pool = createConnectionPool(config.kafka, { clientId: application, logger });
  try {
    const checkpoint = await findCheckpoint(client, config.name);
    if (checkpoint === null) await requireStateSchema(client);
    else requireOwnState(checkpoint.incarnation);
    await requireReplica(client);
    if (source.format === 'avro') await requireRegistry(config.kafka.registryUrl ?? '');
    await listTableTopics(pool, source, (await readTopicStates(client, config.name)) ?? new Map());
  } finally {
    await Promise.all([client.end(), pool.close()]);
  }
}
