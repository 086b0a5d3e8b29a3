import { createConnectionPool, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { ensureTopics } from '#adapters/kafka/topics.ts';
import type { Config } from '#core/config.ts';
import type { Logger } from '#core/log.ts';
import { controlTopic } from '#core/topic-names.ts';

/** Connections of a command or of a service's control channel; the caller closes them. */
export function openControlPool(config: Config, logger: Logger): ConnectionPool {
  return createConnectionPool(config.kafka, { clientId: `restage-${config.name}-cli`, logger });
}

/** Makes `<name>.control` when it is missing. */
export async function ensureControlTopic(config: Config, pool: ConnectionPool): Promise<void> {
  await ensureTopics(pool, [controlTopic(config.name)], {
    replicationFactor: config.kafka.replicationFactor,
    compacted: true,
  });
}
