import type { DebeziumOptions } from '#core/debezium/options.ts';
import type { TableName } from '#core/table-name.ts';

/** Topics that a Debezium connector writes, and how (`source.debezium`). */
export interface DebeziumSourceConfig {
  /** Names or globs; `!` excludes, the last match decides. */
  readonly topics: readonly string[];
  readonly format: DebeziumOptions['format'];
  /** JSON: whether every record carries its schema (Kafka Connect: "JsonConverter", schemas.enable). */
  readonly schemasEnable: boolean;
  /** The topic of BEGIN and END; null where Debezium writes none. */
  readonly transactionTopic: string | null;
  /** Where a source's table has another name at the target; by tableKey of the source's. */
  readonly tables: ReadonlyMap<string, TableName>;
  /** A snapshot that is taken again shows all rows: others are removed. */
  readonly areSnapshotsWhole: boolean;
  readonly options: SourceOptions;
}

/** How Debezium was told to write values. null: not said, and only asked for where schemas do not tell. */
export interface SourceOptions {
  readonly decimalHandlingMode: DebeziumOptions['decimalHandlingMode'] | null;
  readonly timePrecisionMode: DebeziumOptions['timePrecisionMode'] | null;
  readonly binaryHandlingMode: DebeziumOptions['binaryHandlingMode'];
  readonly unavailableValuePlaceholder: string;
}
