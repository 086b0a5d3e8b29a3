import type { TableEvents } from '#core/debezium/table-events.ts';
import type { EventEncoder } from '#core/event-encoder.ts';
import type { RowMask } from '#core/rules/capture-policy.ts';
import type { ColumnChange, ColumnsOf, SourceShape } from '#core/structure-change.ts';
import type { CurrentShape, StructureRecord } from '#core/structure-record.ts';
import type { TableStructure } from '#core/structure.ts';
import type { LabelWatch } from './label-watch.ts';

/** A table as its events are encoded now. */
export interface CapturedTable {
  readonly structure: TableStructure;
  readonly record: StructureRecord;
  readonly encoder: EventEncoder;
  /** Where events have profile `debezium`; null: `encoder` writes them. */
  readonly debezium: TableEvents | null;
  /** null where the catalog's side is not known. */
  readonly source: SourceShape | null;
  /** What made it from the structure of the newest events in Kafka; none for the first. */
  readonly changes: readonly ColumnChange[];
  readonly columnsOf: ColumnsOf | null;
  readonly labels: LabelWatch;
  /** What `source.columns` makes of the values that come; null: they pass as they are. */
  readonly mask: RowMask | null;
}

/** A structure and the catalog's side of it, as the stream has reached them. */
export interface KnownTable {
  readonly structure: TableStructure;
  readonly source: SourceShape | null;
}

/** What the record on the topic of structures says beside the structure; null where the catalog's side is not known. */
export function currentShape({ structure, record, source }: CapturedTable): CurrentShape | null {
  return source === null ? null : { topic: structure.topic, version: record.version, ...source };
}
