import type pg from 'pg';
import type { ReplicationStream } from '#adapters/postgres/source/replication-stream.ts';
import { readSlot } from '#adapters/postgres/source/slot.ts';
import { pause } from '#core/backoff.ts';
import type { Manifest } from '#core/manifest.ts';
import { requireOwnSlot } from './birth.ts';

const POLL_MS = 20;

/**
 * Waits until the slot is ours to read, and compares it once more: from then on nobody else can move it, and START_REPLICATION begins
 * without a word at the slot's own position where that is further than the one asked for.
 * @throws RestageError slot_missing, slot_ahead.
 */
export async function requireHeldSlot(
  client: pg.ClientBase,
  name: string,
  stream: ReplicationStream,
  last: Manifest | null,
  signal: AbortSignal,
): Promise<void> {
  // A stream that failed says why to whoever reads it.
  while (!signal.aborted && !stream.hasFailed) {
    const slot = await readSlot(client, name);
    requireOwnSlot(name, slot, last);
    if (slot?.activePid != null) return;
    await pause(POLL_MS, signal);
  }
}
