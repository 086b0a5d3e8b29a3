import { parseManifest, type Manifest, type StoredManifest } from '#core/manifest.ts';
import { epochsTopic } from '#core/topic-names.ts';
import { committedRecords } from './committed-records.ts';
import type { ConnectionPool } from './connection-pool.ts';
import { endOffset, startOffset } from './offsets.ts';
import { fetchBatches } from './partition-reader.ts';

/**
 * The first manifest for which `isPast` is true, found by halving, so a long history costs some twenty fetches. `isPast` must be
 * false up to some manifest and true from there on. null where there is none, or no topic.
 */
export async function findManifest(
  pool: ConnectionPool,
  prefix: string,
  isPast: (manifest: Manifest) => boolean,
): Promise<StoredManifest | null> {
  const topic = epochsTopic(prefix);
  if (!(await pool.isThere(topic))) return null;
  let from = await startOffset(pool, topic);
  let to = await endOffset(pool, topic, 'read_committed');
  let found: StoredManifest | null = null;
  while (from < to) {
    const middle = from + (to - from) / 2n;
    const next = await firstManifest(pool, topic, middle, to);
    if (next !== null && !isPast(next.manifest)) from = next.offset + 1n;
    else {
      found = next ?? found;
      to = middle;
    }
  }
  return found;
}

/** The first committed manifest from one offset on and before another. */
async function firstManifest(
  pool: ConnectionPool,
  topic: string,
  from: bigint,
  to: bigint,
): Promise<StoredManifest | null> {
  const query = { topic, partition: 0, isolation: 'read_committed', channel: 'read', maxWaitMs: 0 } as const;
  for (let next = from; next < to;) {
    const { batches, fetched } = await fetchBatches(pool, query, next);
    for (const { offset, value } of committedRecords(batches, fetched.aborted)) {
      if (offset < next || value === null) continue;
      if (offset >= to) return null;
      return { offset, manifest: parseManifest(value, `topic ${topic}, offset ${offset}`) };
    }
    next = (batches.at(-1)?.lastOffset ?? to) + 1n;
  }
  return null;
}
