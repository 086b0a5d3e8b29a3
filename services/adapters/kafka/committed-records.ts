import type { KafkaRecord } from '#core/record.ts';
import type { DecodedBatch } from './record-batch-decoder.ts';
import type { Fetched } from './fetch.ts';

const ABORT = 0;

/**
 * What read_committed means for a reader (Kafka: KIP-98): a fetch lists the producers with aborted transactions and where
 * each begins; a producer's records are dropped from there to its abort marker.
 */
export function committedRecords(batches: readonly DecodedBatch[], aborted: Fetched['aborted']): KafkaRecord[] {
  const pending = aborted.toSorted((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1));
  const dropping = new Set<bigint>();
  const records: KafkaRecord[] = [];
  for (const batch of batches) {
    while (pending[0] !== undefined && pending[0].firstOffset <= batch.lastOffset) {
      const begun = pending.shift();
      if (begun !== undefined) dropping.add(begun.producerId);
    }
    if (batch.isControl) {
      if (controlType(batch) === ABORT) dropping.delete(batch.producerId);
    } else if (!batch.isTransactional || !dropping.has(batch.producerId)) records.push(...batch.records());
  }
  return records;
}

/** A control record's key: version, then type (0 abort, 1 commit), both int16. */
function controlType(batch: DecodedBatch): number | null {
  const key = batch.records()[0]?.key;
  return key === undefined || key === null || key.length < 4 ? null : key.readInt16BE(2);
}
