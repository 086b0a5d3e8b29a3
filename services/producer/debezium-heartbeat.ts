import type { PipelineRecords } from '#core/debezium/pipeline-records.ts';
import type { PartitionRecords } from '#core/epoch-writer.ts';
import { NO_HEADERS } from '#core/fixed-headers.ts';
import { TopicBatches } from '#core/topic-batches.ts';

/** Debezium's heartbeats: a record on their topic every `intervalMs`, in the Kafka transaction of whatever manifest comes. */
export class DebeziumHeartbeat {
  readonly intervalMs: number;
  readonly #records: PipelineRecords;
  #beatAt: number;

  constructor(records: PipelineRecords, intervalMs: number, nowMs: number) {
    this.#records = records;
    this.intervalMs = intervalMs;
    this.#beatAt = nowMs;
  }

  isDue(nowMs: number): boolean {
    return this.intervalMs > 0 && nowMs - this.#beatAt >= this.intervalMs;
  }

  /** The record where it is due, else nothing. */
  take(nowMs: number): readonly PartitionRecords[] {
    const record = this.isDue(nowMs) ? this.#records.heartbeat(nowMs) : null;
    if (record === null) return [];
    this.#beatAt = nowMs;
    const batches = new TopicBatches();
    batches.append(record.topic, record.key, record.value, NO_HEADERS);
    return batches.finish();
  }
}
