import type pg from 'pg';
import { createConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { requireReadyKafka } from '#adapters/kafka/creation-probe.ts';
import { createKafkaEpochReader } from '#adapters/kafka/epoch-reader.ts';
import { connectPg } from '#adapters/postgres/session.ts';
import { mayActAsReplica } from '#adapters/postgres/target/apply-session.ts';
import { findCheckpoint, readLoadedTopics } from '#adapters/postgres/target/target-state.ts';
import type { Config, TargetConfig } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import type { Logger } from '#core/log.ts';
import { quoteIdentifier } from '#core/table-name.ts';
import { prefixOf } from '#core/output-ref.ts';
import { epochsTopic } from '#core/topic-names.ts';
import { needsReplica } from './needs-replica.ts';
import { requireSameLife } from './same-life.ts';
import { requireSameOutput } from './same-output.ts';

/**
 * What a sink would refuse, asked before anything is made: no topic and no schema comes of a start that fails here.
 * A running sink is not disturbed, so a stand-by passes. `more` asks further in the same session, where no sink has begun yet.
 * @throws RestageError of the first thing that is wrong: target, then Kafka, then what both say of the position.
 */
export async function requireReadyTarget(
  config: Config,
  target: TargetConfig,
  logger: Logger,
  more: (client: pg.Client) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const application = `restage ${config.name} preflight`;
  const client = await connectPg({ url: target.url, purpose: 'target', application });
  const pool = createConnectionPool(config.kafka, { clientId: application, logger });
  try {
    if (target.ordering === 'key' && !(await mayActAsReplica(client))) throw needsReplica(target.name);
    const checkpoint = await findCheckpoint(client, config.name);
    const prefix = prefixOf(config, target.output);
    if (checkpoint !== null) requireSameOutput(await readLoadedTopics(client, config.name), prefix, target.name);
    await requireReadyKafka(pool, prefix, config.kafka.replicationFactor);
    if (checkpoint === null) {
      await requireStateSchema(client);
      await more(client);
      return;
    }
    const topic = epochsTopic(prefix);
    if (!(await pool.isThere(topic))) {
      throw new RestageError(
        'history_lost',
        'the target has a position, but this Kafka has no history of the pipeline',
        {
          where: `restage.checkpoint of pipeline ${config.name}; topic ${topic} is not there`,
          fix: 'correct kafka.brokers or name; if the topics were deleted, use an empty target and another pipeline name',
        },
      );
    }
    await requireSameLife(
      { reader: createKafkaEpochReader({ pool, prefix, logger }) },
      checkpoint,
      new AbortController().signal,
    );
  } finally {
    await Promise.all([client.end(), pool.close()]);
  }
}

/** @throws RestageError target_denied when Restage's own schema is not there and the role may not make it. */
export async function requireStateSchema(client: pg.ClientBase): Promise<void> {
  const [row] = (
    await client.query<{ ready: boolean; role: string; database: string }>(
      `SELECT current_user::text AS role, current_database()::text AS database,
              has_database_privilege(current_database(), 'create')
                OR EXISTS (SELECT FROM pg_namespace WHERE nspname = 'restage' AND has_schema_privilege(oid, 'create')) AS ready`,
    )
  ).rows;
  if (row === undefined || row.ready) return;
  throw new RestageError('target_denied', 'the role may not make schemas, and Restage keeps its state in one', {
    where: `role ${row.role}, database ${row.database}`,
    fix: `GRANT CREATE ON DATABASE ${quoteIdentifier(row.database)} TO ${quoteIdentifier(row.role)};`,
  });
}
