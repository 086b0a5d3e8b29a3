import * as z from 'zod';
import type { Failpoints } from '#core/failpoints.ts';
import type { LetterGate } from '#core/letter-command.ts';
import type { Logger } from '#core/log.ts';
import type { Lsn } from '#core/lsn.ts';
import { newStatus, SERVICE_STATES, type ServiceStatus } from '#core/status.ts';
import type { TableName } from '#core/table-name.ts';
import type { WaitMeter } from '#core/wait-meter.ts';

/** Desired state, obeyed between epochs: a paused service holds its position and its lease and does no work. */
export interface PauseGate {
  readonly isPaused: boolean;
  /** Resolves at once while running, else on `restage resume`, or when aborted. */
  whenRunning(signal: AbortSignal): Promise<void>;
}

/** What `verify` asks of a sink: to stand still for a moment, so that both sides can be read at one LSN. */
export interface HoldRequest {
  readonly id: string;
  /** Where: all that committed before it is applied and nothing else. null: at the next end of an epoch. */
  readonly lsn: Lsn | null;
  /** A replay's bound: further is an error, where `lsn` lies in a stretch that the target takes as one. */
  readonly isBound?: boolean;
}

/** Hold requests, obeyed between epochs, and inside one where the LSN lies there. */
export interface HoldGate {
  /** null while nobody asks; whoever asks and falls silent is forgotten (HOLD_SILENCE_MS). */
  readonly request: HoldRequest | null;
  /** Aborts at the next change of `request`; from then on it is another signal. */
  readonly changed: AbortSignal;
  /** Says at once that the sink stands still for this request, or goes on (null). */
  acknowledge(id: string | null): void;
}

/** What `restage snapshot` asks of the producer: to load tables anew while the stream goes on. */
export interface SnapshotRequest {
  readonly id: string;
  readonly tables: readonly TableName[];
}

/** Requests for snapshots: each stays until it is cleared, whatever becomes of whoever serves it. */
export interface SnapshotGate {
  /** In the order in which they came. */
  readonly requests: readonly SnapshotRequest[];
  /** Forgets one for good, also here. */
  clear(id: string): Promise<void>;
}

/** What a service's main is handed. `signal` aborts for a drain: finish the epoch in hand, then return. */
export interface ServiceContext {
  readonly logger: Logger;
  readonly status: ServiceStatus;
  readonly signal: AbortSignal;
  readonly gate: PauseGate;
  readonly hold: HoldGate;
  readonly snapshots: SnapshotGate;
  readonly letters: LetterGate;
  readonly failpoints: Failpoints;
  /** Of the loop's input, for the figures of its flow. */
  readonly waits: WaitMeter;
}

export type DesiredState = 'run' | 'paused';

/** A service's own word about itself, one compacted record per instance on `<name>.control`. */
export interface StatusRecord {
  readonly status: ServiceStatus;
  /** Where its HTTP endpoints are, `http://127.0.0.1:4000`; '' when it has none. */
  readonly address: string;
  readonly pid: number;
  /** Milliseconds since 1970, by the service's clock. */
  readonly at: number;
}

/** What readers rely on; what else a service of another version says is taken as it is. */
const statusRecordSchema = z.object({
  status: z.looseObject({
    service: z.enum(['producer', 'transformer', 'sink']),
    instance: z.string(),
    state: z.enum(SERVICE_STATES),
    detail: z.string(),
    held: z.string(),
    through: z.string(),
    lagBytes: z.number(),
    lagEvents: z.number(),
    lagSeconds: z.number(),
  }),
  address: z.string(),
  pid: z.number(),
  at: z.number(),
});

/** null for a record that is not of the known form: somebody else wrote it. */
export function parseStatusRecord(value: Buffer): StatusRecord | null {
  try {
    const { status, ...rest } = statusRecordSchema.parse(JSON.parse(value.toString('utf8')));
    return { ...rest, status: { ...newStatus(status.service, status.instance), ...status } };
  } catch {
    return null;
  }
}

export const STATUS_INTERVAL_MS = 2_000;
/** A status record older than this says that its service is down. */
export const STATUS_STALE_MS = 10_000;

/** Whoever holds a sink repeats the request this often; a sink goes on when it hears none for HOLD_SILENCE_MS. */
export const HOLD_RENEWAL_MS = 3_000;
export const HOLD_SILENCE_MS = 12_000;

/** A sink's only; a tombstone ends the hold. */
export function holdKey(instance: string): string {
  return `hold/sink/${instance}`;
}

/** One record a request, as `restage snapshot` writes it; a tombstone once it is announced. */
export function snapshotKey(id: string): string {
  return `${SNAPSHOT_PREFIX}${id}`;
}

export const SNAPSHOT_PREFIX = 'snapshot/';

export function statusKey(service: ServiceStatus['service'], instance: string): string {
  return `status/${service}/${instance}`;
}

export function desiredKey(service: ServiceStatus['service'], instance: string): string {
  return `desired/${service}/${instance}`;
}

/** Tells every service that hears it to drain and end. It is obeyed when it comes, not when it is found by a later start. */
export function stopKey(): string {
  return 'stop';
}
