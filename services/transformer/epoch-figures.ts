import type { Manifest } from '#core/manifest.ts';
import { noteAge, noteEpochPart, type ServiceStatus } from '#core/status.ts';

/** Events by the envelope's `op`. */
export interface OpCounts {
  c: number;
  u: number;
  d: number;
  r: number;
}

export function countedOps(given: string): OpCounts {
  const ops = { c: 0, u: 0, d: 0, r: 0 };
  countOps(ops, given);
  return ops;
}

export function rowsOf({ c, u, d, r }: OpCounts): number {
  return c + u + d + r;
}

/** `given`: a letter for each event. */
export function countOps(ops: OpCounts, given: string): void {
  for (const op of given) ops[op as keyof OpCounts] += 1;
}

export function noteWritten(
  status: ServiceStatus,
  manifest: Manifest,
  rows: number,
  bytes: number,
  seconds: number,
  now: number,
): void {
  status.through = manifest.through;
  status.epochs += manifest.kind === 'stream' && manifest.last ? 1 : 0;
  if (manifest.kind === 'stream' || manifest.kind === 'chunk')
    noteEpochPart(status, manifest, { events: rows, bytes, seconds });
  noteAge(status, manifest, now);
  if (manifest.kind === 'chunk') status.load.rows += rows;
}

export function noteEvents(events: ServiceStatus['events'], ops: OpCounts, { control }: Manifest): void {
  events.snapshot += ops.r;
  events.insert += ops.c;
  events.update += ops.u;
  events.delete += ops.d;
  events.truncate += control.filter((entry) => entry.kind === 'truncate').length;
}
