import type { EpochReader } from '#core/epoch-reader.ts';
import type { Lsn } from '#core/lsn.ts';
import type { ManifestRange } from '#core/manifest.ts';
import type { EventHeaders } from '#core/record.ts';
import type { Branch } from '#core/rules/branch.ts';
import type { RuleConfig } from '#core/rules/rule-config.ts';
import type { ValidationConfig } from '#core/rules/validation-config.ts';
import type { RecordSink } from '#core/topic-batches.ts';
import type { DebeziumShaper } from './debezium-shaper.ts';
import type { KeptState } from './kept-state.ts';
import type { ModuleQueue } from './module-queue.ts';
import type { OutboxWriter } from './outbox-writer.ts';

export interface EventShaperOptions {
  readonly reader: EpochReader;
  readonly rules: readonly RuleConfig[];
  /** Patterns of the tables that the output takes. Absent: all. */
  readonly tables?: readonly string[] | undefined;
  readonly rawSchemasTopic: string;
  readonly shapedPrefix: string;
  readonly shapedSchemasTopic: string;
  /** Ids of the shaped structures that Kafka has. */
  readonly written: Set<string>;
  /** null: profile `lossless`. */
  readonly debezium?: DebeziumShaper | null;
  /** null: the output has no module. */
  readonly module?: ModuleQueue | null;
  readonly outbox?: OutboxWriter | null;
  /** null: no rule needs one. */
  readonly state?: KeptState | null;
  /** What is to hold of rows before any rule. Absent: nothing. */
  readonly validations?: readonly ValidationConfig[];
  /** Of each shaped table's topic. Absent is one. */
  readonly partitions?: number;
  /** The partition that it shapes alone, beside others who shape theirs; absent: all of them. */
  readonly lane?: number | undefined;
}

/** Of the record that an event is made from. */
export interface RecordFacts {
  /** The envelope's, from its source block on. */
  readonly tail: string;
  /** null for a row of the load. */
  readonly headers: EventHeaders | null;
  readonly headersFor: (branch: Branch) => Buffer;
  readonly where: string;
}

/** Where an epoch's records go: those that the manifest names, and those beside it. */
export interface EpochRecords {
  readonly data: RecordSink;
  readonly side: RecordSink;
  /** What committed before is in the load of a raw topic's table; readers leave it out. */
  readonly floorOf: (topic: string) => Lsn;
}

export type RecordPlace = Pick<ManifestRange, 'topic' | 'partition'>;
