import type { OptionReader } from '#core/option-reader.ts';
import type { OutputConfig, TargetConfig } from '#core/config.ts';
import type { Profile } from '#core/debezium/options.ts';
import { parseTableName } from '#core/table-text.ts';
import { tableKey, type TableName } from '#core/table-name.ts';
import type { DebeziumSourceConfig } from './options.ts';

/** `source.debezium`, or null where the source is a database. Problems are reported to the reader. */
export function readDebeziumSource(reader: OptionReader): DebeziumSourceConfig | null {
  if (!reader.isGiven('source.debezium')) return null;
  const topics = reader.get('source.debezium.topics');
  if (topics === null) reader.report('source.debezium.topics', [], 'source.debezium needs the topics to read');
  if (reader.isGiven('source.postgres.url'))
    reader.report('source.postgres.url', [], 'a source is either source.postgres or source.debezium: leave out one');
  const format = reader.get('source.debezium.format');
  if (format === 'avro' && reader.get('kafka.registry.url') === null)
    reader.report('source.debezium.format', [], 'avro needs a schema registry: give kafka.registry.url');
  return {
    topics: topics ?? [],
    format,
    schemasEnable: reader.get('source.debezium.schemas.enable'),
    transactionTopic: reader.get('source.debezium.transaction.topic'),
    tables: readTables(reader),
    areSnapshotsWhole: reader.get('source.debezium.snapshots.whole'),
    options: {
      decimalHandlingMode: reader.get('source.debezium.decimal.handling.mode'),
      timePrecisionMode: reader.get('source.debezium.time.precision.mode'),
      binaryHandlingMode: reader.get('source.debezium.binary.handling.mode'),
      unavailableValuePlaceholder: reader.get('source.debezium.unavailable.value.placeholder'),
    },
  };
}

function readTables(reader: OptionReader): ReadonlyMap<string, TableName> {
  const tables = new Map<string, TableName>();
  for (const [from, to] of reader.get('source.debezium.tables.*') ?? []) {
    const [source, target] = [parseTableName(from), parseTableName(to)];
    if (source === null || target === null)
      reader.report(
        'source.debezium.tables.*',
        [],
        'write both names as schema.table, parts with a dot in double quotes',
      );
    else tables.set(tableKey(source), target);
  }
  return tables;
}

const OF_A_PRODUCER = [
  'source.tables',
  'source.publication',
  'source.slot',
  'source.snapshotWorkers',
  'source.heartbeatMs',
  'source.columns[].table',
] as const;

/** What a pipeline without a producer of its own cannot have. */
export function checkDebeziumSource(
  reader: OptionReader,
  outputs: readonly OutputConfig[],
  profile: Profile,
  targets: readonly TargetConfig[],
): void {
  for (const path of OF_A_PRODUCER)
    if (reader.isGiven(path))
      reader.report(path, [], 'it says how Restage reads a source, and with source.debezium it reads none');
  if (outputs.length > 0)
    reader.report(
      'source.debezium.topics',
      [],
      "transform has no place beside source.debezium: sinks read Debezium's topics as they are",
    );
  if (profile !== null)
    reader.report(
      'source.profile',
      [],
      'it says how Restage writes raw topics, and with source.debezium it writes none',
    );
  const hasTransactions = reader.get('source.debezium.transaction.topic') !== null;
  for (const [at, { quarantine }] of targets.entries())
    if (quarantine === 'transaction' && !hasTransactions)
      reader.report(
        'targets[].quarantine',
        [at],
        'without source.debezium.transaction.topic nobody knows which events are one transaction: say row or stop, or give the topic',
      );
  for (const [at, { ordering }] of targets.entries())
    if (ordering === 'key')
      reader.report(
        'targets[].ordering',
        [at],
        "lanes share a stream of Restage's own: with source.debezium say transaction",
      );
  for (const [at, { schema }] of targets.entries())
    if (schema !== 'require' && reader.isGiven(`targets[${at}].schema`))
      reader.report(
        'targets[].schema',
        [at],
        'with source.debezium there is no structure to make tables from: make them, and say require',
      );
}
