import type { SourceEvent } from '#core/debezium-source/event.ts';
import type { Lsn } from '#core/lsn.ts';
import type { Position } from '#core/position.ts';
import type { KafkaRecord } from '#core/record.ts';

/** Where an event in a batch comes from: what its dead letter would say. */
export interface EventOrigin {
  readonly topic: string;
  readonly record: KafkaRecord;
  readonly op: SourceEvent['op'] | null;
  /** Grows in the order in which events are applied; the commit is the newest that was known then. */
  readonly position: Position;
  /** The commit of the whole transaction that it is taken with; null where it is taken by itself. */
  readonly transaction: Lsn | null;
  /** A row of a snapshot: it comes before all that its topic has waiting. */
  readonly isSnapshotRow: boolean;
  readonly xid: bigint | null;
  /** Of a key's change: the key's bytes of the delete that goes before the record. */
  readonly oldKey: Buffer | null;
}
