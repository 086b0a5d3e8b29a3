import type pg from 'pg';
import { createConnectionPool, type ConnectionPool } from '#adapters/kafka/connection-pool.ts';
import { requireReadyKafka } from '#adapters/kafka/creation-probe.ts';
import { readCompacted } from '#adapters/kafka/keyed-topic.ts';
import { readLastManifest } from '#adapters/kafka/last-manifest.ts';
import { requireReadyRegistry } from '#adapters/registry/converters.ts';
import { SchemaJournal } from '#adapters/postgres/target/schema-journal.ts';
import { requireCopyable } from '#adapters/postgres/target/structure-archive.ts';
import { requireReadyTables } from '#adapters/postgres/target/target-tables.ts';
import type { Config, OutputConfig, TargetConfig } from '#core/config.ts';
import type { Logger } from '#core/log.ts';
import { declarationOf } from '#core/module/module-config.ts';
import { findOutput } from '#core/output-ref.ts';
import { requireSoundOutput } from '#core/rules/output-rules.ts';
import { shapeTables } from '#core/rules/shape-tables.ts';
import { findStructures } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import { schemasTopic, shapedPrefix } from '#core/topic-names.ts';
import { startHttp } from '../dashboard/http-server.ts';
import { requireReadySource } from '../producer/preflight.ts';
import { requireReadyDebezium } from '../sink/debezium/preflight.ts';
import { requireReadyTarget } from '../sink/preflight.ts';

/**
 * What `run` asks before anything is made, so that a start that can come to nothing leaves nothing: source, Kafka, rules and
 * every target. Rules and tables are judged until the load has begun: the sinks see to later changes of structure.
 * @throws RestageError of the first thing that is wrong.
 */
export async function requireReadyPipeline(config: Config, logger: Logger): Promise<void> {
  await requireFreePort(config, logger);
  const theirs = config.source.debezium ?? null;
  if (theirs !== null) {
    for (const target of config.targets) await requireReadyDebezium(config, theirs, target, logger);
    return;
  }
  const { tables, last, major } = await requireReadySource(config, logger);
  if (last === null || last.plan === null)
    for (const output of config.outputs)
      requireSoundOutput(output, tables, prefixOf(config, output), declarationOf(output));
  for (const target of config.targets) {
    const shaped = shapeTables(tables, findOutput(config.outputs, target.output));
    await requireReadyTarget(config, target, logger, (client) =>
      requireReadyStructure(config, target, client, major, shaped),
    );
  }
}

/** A fixed port is the producer's. @throws RestageError usage when it cannot be taken. */
async function requireFreePort(config: Config, logger: Logger): Promise<void> {
  if (config.http.port === 0) return;
  const http = await startHttp({ status: [], ...config.http, logger, clock: Date.now });
  await http.close();
}

/**
 * What a transformer would refuse, asked before its topics are made: Kafka, and rules that do not fit what the producer captured.
 * @throws RestageError of the first thing that is wrong.
 */
export async function requireReadyOutputs(
  config: Config,
  outputs: readonly OutputConfig[],
  logger: Logger,
): Promise<void> {
  const pool = createConnectionPool(config.kafka, { clientId: `restage ${config.name} preflight`, logger });
  try {
    await requireReadyRegistry(config);
    for (const output of outputs) {
      const prefix = prefixOf(config, output);
      await requireReadyKafka(pool, prefix, config.kafka.replicationFactor);
      // Outputs that have begun live with the structures of their time.
      if ((await readLastManifest(pool, prefix)) !== null) continue;
      const captured = await readCaptured(pool, config.name);
      if (captured !== null) requireSoundOutput(output, captured, prefix, declarationOf(output));
    }
  } finally {
    await pool.close();
  }
}

/** The newest structure of every table that the producer captured; null before it has a plan. */
async function readCaptured(pool: ConnectionPool, name: string): Promise<TableStructure[] | null> {
  const planned = (await readLastManifest(pool, name))?.manifest.plan ?? null;
  if (planned === null) return null;
  const newest = new Map<string, TableStructure>();
  for (const { structure } of findStructures((await readCompacted(pool, schemasTopic(name))).values()))
    newest.set(structure.topic, structure);
  return [...newest.values()];
}

async function requireReadyStructure(
  config: Config,
  target: TargetConfig,
  client: pg.Client,
  sourceMajor: number,
  tables: readonly TableStructure[],
): Promise<void> {
  const journal = new SchemaJournal(client, config.name);
  if (await journal.isPreDataDone()) return;
  await requireReadyTables(client, target.schema, await journal.withoutMade(tables));
  if (target.schema === 'copy') await requireCopyable(sourceMajor, client);
}

function prefixOf(config: Config, output: OutputConfig): string {
  return shapedPrefix(config.name, output.name, output.version);
}
