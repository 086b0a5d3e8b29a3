import { PipelineRecords } from '#core/debezium/pipeline-records.ts';
import type { DebeziumSource } from '#core/debezium/table-events.ts';
import { DebeziumHeartbeat } from './debezium-heartbeat.ts';
import type { ManifestBook } from './manifest-book.ts';
import type { ProducerParts } from './producer-parts.ts';

/** What profile `debezium` adds to a producer. */
export interface DebeziumParts {
  readonly source: DebeziumSource;
  readonly records: PipelineRecords;
  readonly heartbeat: DebeziumHeartbeat;
}

/** null: profile `lossless`. Makes the topics of transactions and heartbeats. @throws RestageError registry_unreachable, registry_refused. */
export async function openDebezium(
  { config, version, converters, ensureTopics, clock }: ProducerParts,
  book: ManifestBook,
): Promise<DebeziumParts | null> {
  const options = config.source.profile ?? null;
  if (options === null) return null;
  const source: DebeziumSource = {
    prefix: config.name,
    version,
    runId: book.incarnation,
    options,
    converters,
  };
  const records = await PipelineRecords.open(source);
  await ensureTopics([], records.topics);
  return { source, records, heartbeat: new DebeziumHeartbeat(records, options.heartbeatIntervalMs, clock()) };
}
