import { parseManifest, type StoredManifest } from '#core/manifest.ts';
import { committedRecords } from './committed-records.ts';
import type { ConnectionPool } from './connection-pool.ts';
import { endOffset, startOffset } from './offsets.ts';
import { fetchBatches } from './partition-reader.ts';

/** Usually the last records are one manifest and its marker; aborted transactions make it look further. */
const LOOK_BACK = 4n;

/** The last committed manifest on an `.epochs` topic; null where there is none. */
export async function readLastManifest(pool: ConnectionPool, topic: string): Promise<StoredManifest | null> {
  const end = await endOffset(pool, topic, 'read_committed');
  const start = await startOffset(pool, topic);
  for (let width = LOOK_BACK; ; width *= 4n) {
    const from = end - width < start ? start : end - width;
    const found = await lastBetween(pool, topic, from, end);
    if (found !== null || from === start) return found;
  }
}

async function lastBetween(
  pool: ConnectionPool,
  topic: string,
  from: bigint,
  end: bigint,
): Promise<StoredManifest | null> {
  let found: StoredManifest | null = null;
  const query = { topic, partition: 0, isolation: 'read_committed', channel: 'read', maxWaitMs: 0 } as const;
  for (let next = from; next < end;) {
    const { batches, fetched } = await fetchBatches(pool, query, next);
    for (const record of committedRecords(batches, fetched.aborted)) {
      if (record.value === null || record.offset < next) continue;
      found = {
        offset: record.offset,
        manifest: parseManifest(record.value, `topic ${topic}, offset ${record.offset}`),
      };
    }
    next = (batches.at(-1)?.lastOffset ?? end) + 1n;
  }
  return found;
}
