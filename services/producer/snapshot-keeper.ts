import type pg from 'pg';
import { keepSnapshot, readKeeperNeeds, type KeptSnapshot } from '#adapters/postgres/source/kept-snapshot.ts';
import { pause } from '#core/backoff.ts';
import type { Failpoints } from '#core/failpoints.ts';

export interface SnapshotKeeperOptions {
  /** A session that lives as long as the snapshot shall. */
  readonly client: pg.Client;
  /** As another session exports it now. */
  readonly snapshot: string;
  readonly lease: string;
  readonly slot: string;
  /** How long it stays while nobody holds the lease. */
  readonly keepMs: number;
  /** It is exported: who asked for it may be told. */
  readonly onKept: (kept: KeptSnapshot) => void;
  readonly failpoints: Failpoints;
  readonly clock: () => number;
}

const POLL_MS = 2_000;

/**
 * Exports a snapshot until it is of no more use: its session is ended (a producer does so when the load is done), the slot is gone,
 * nobody has held the producer's lease for `keepMs`, or `signal` aborts. It takes no lease and writes nothing.
 */
export async function runSnapshotKeeper(options: SnapshotKeeperOptions, signal: AbortSignal): Promise<void> {
  const { client, snapshot, lease, slot, keepMs, onKept, failpoints, clock } = options;
  const ended = new AbortController();
  client.once('end', () => ended.abort());
  const either = AbortSignal.any([signal, ended.signal]);
  failpoints.hit('keeper.export.before');
  const kept = await keepSnapshot(client, snapshot);
  failpoints.hit('keeper.export.after');
  onKept(kept);
  for (let heldAt = clock(); !either.aborted; await pause(Math.min(POLL_MS, Math.max(1, keepMs / 4)), either)) {
    const needs = await readKeeperNeeds(client, lease, slot).catch(() => null);
    if (needs === null || !needs.isSlotThere) return;
    if (needs.isLeaseHeld) heldAt = clock();
    else if (clock() - heldAt >= keepMs) return;
  }
}
