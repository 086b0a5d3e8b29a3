import { pause } from '#core/backoff.ts';
import { parseManifest, type Manifest, type StoredManifest } from '#core/manifest.ts';
import { epochsTopic } from '#core/topic-names.ts';
import { committedRecords } from './committed-records.ts';
import type { ConnectionPool } from './connection-pool.ts';
import { endOffset, startOffset, type Place } from './offsets.ts';
import { fetchBatches } from './partition-reader.ts';

/** Usually the last records are one manifest and its marker; aborted transactions make it look further. */
const LOOK_BACK = 4n;
const DECISION_POLL_MS = 100;
/** A transaction that nobody ends is aborted after its time-out, 60 s. */
const DECISION_LIMIT_MS = 70_000;

/** The last committed manifest of a pipeline (by its prefix), or of a place, as it is now, also while its producer writes; null where there is none. */
export async function readLastManifest(pool: ConnectionPool, from: string | Place): Promise<StoredManifest | null> {
  const place = typeof from === 'string' ? { topic: epochsTopic(from), partition: 0 } : from;
  if (!(await pool.isThere(place.topic))) return null;
  return lastManifest(pool, place, await endOffset(pool, place.topic, 'read_committed', place.partition));
}

/**
 * The last manifest, once `isEnough` or once nothing written before this call is still to be decided. EndTxn is answered before readers see
 * what it commits (Kafka: KIP-98, WriteTxnMarkers), so what a producer made known after its commit may be ahead of what is visible.
 */
export async function readDecidedManifest(
  pool: ConnectionPool,
  prefix: string,
  isEnough: (last: Manifest | null) => boolean,
): Promise<Manifest | null> {
  const topic = epochsTopic(prefix);
  if (!(await pool.isThere(topic))) return null;
  const written = await endOffset(pool, topic, 'read_uncommitted');
  for (const deadline = Date.now() + DECISION_LIMIT_MS; ; await pause(DECISION_POLL_MS)) {
    const visible = await endOffset(pool, topic, 'read_committed');
    const last = (await lastManifest(pool, { topic, partition: 0 }, visible))?.manifest ?? null;
    if (isEnough(last) || visible >= written || Date.now() > deadline) return last;
  }
}

/** The last committed manifest before the offset `end`; null on an empty topic. */
export async function lastManifest(pool: ConnectionPool, place: Place, end: bigint): Promise<StoredManifest | null> {
  const start = await startOffset(pool, place.topic, place.partition);
  for (let width = LOOK_BACK; ; width *= 4n) {
    const from = end - width < start ? start : end - width;
    const found = await lastBetween(pool, place, from, end);
    if (found !== null || from === start) return found;
  }
}

async function lastBetween(
  pool: ConnectionPool,
  { topic, partition }: Place,
  from: bigint,
  end: bigint,
): Promise<StoredManifest | null> {
  let found: StoredManifest | null = null;
  const query = { topic, partition, isolation: 'read_committed', channel: 'read', maxWaitMs: 0 } as const;
  for (let next = from; next < end;) {
    const { batches, fetched } = await fetchBatches(pool, query, next);
    for (const record of committedRecords(batches, fetched.aborted)) {
      if (record.value === null || record.offset < next) continue;
      found = {
        offset: record.offset,
        manifest: parseManifest(record.value, `topic ${topic}, partition ${partition}, offset ${record.offset}`),
      };
    }
    next = (batches.at(-1)?.lastOffset ?? end) + 1n;
  }
  return found;
}
