import type { Logger } from '#core/log.ts';
import type { ServiceStatus } from '#core/status.ts';

/** Desired state, obeyed between epochs: a paused service holds its position and its lease and does no work. */
export interface PauseGate {
  readonly isPaused: boolean;
  /** Resolves at once while running, else on `restage resume`, or when aborted. */
  whenRunning(signal: AbortSignal): Promise<void>;
}

/** What a service's main is handed. `signal` aborts for a drain: finish the epoch in hand, then return. */
export interface ServiceContext {
  readonly logger: Logger;
  readonly status: ServiceStatus;
  readonly signal: AbortSignal;
  readonly gate: PauseGate;
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

export const STATUS_INTERVAL_MS = 2_000;
/** A status record older than this says that its service is down. */
export const STATUS_STALE_MS = 10_000;

export function statusKey(service: ServiceStatus['service'], instance: string): string {
  return `status/${service}/${instance}`;
}

export function desiredKey(service: ServiceStatus['service'], instance: string): string {
  return `desired/${service}/${instance}`;
}
