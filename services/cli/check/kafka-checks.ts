import pino from 'pino';
import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { probeTopicCreation } from '#adapters/kafka/creation-probe.ts';
import { LARGEST_MESSAGE_BYTES } from '#adapters/kafka/topics.ts';
import { RestageError } from '#core/errors.ts';
import type { CheckContext } from './check-context.ts';
import type { Check, Finding } from './finding.ts';

/** The brokers, by requests of the kind that the services send. */
export const KAFKA_CHECKS: readonly Check[] = [{ id: 'kafka.topics', severity: 'block', run: checkTopics }];

async function checkTopics({ config }: CheckContext): Promise<Finding[]> {
  const pool = createConnectionPool(config.kafka, {
    clientId: `restage-${config.name}-check`,
    logger: pino({ level: 'silent' }),
  });
  try {
    await probeTopicCreation(
      pool,
      `${config.name}.check-${process.pid}`,
      config.kafka.replicationFactor,
      LARGEST_MESSAGE_BYTES,
    );
    return [];
  } catch (error) {
    const isUnreachable = error instanceof RestageError && error.code === 'kafka_unreachable';
    return [
      {
        what: isUnreachable ? 'Kafka does not answer' : 'Kafka would not make the topics',
        evidence: `${config.kafka.brokers.join(', ')}: ${error instanceof Error ? error.message : String(error)}`,
        fix:
          (error instanceof RestageError ? error.fix : undefined) ??
          `allow CREATE on topics with prefix ${config.name}., and set kafka.topics.replicationFactor to no more than there are brokers`,
      },
    ];
  } finally {
    await pool.close();
  }
}
