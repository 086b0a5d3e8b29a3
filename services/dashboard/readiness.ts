import type { ServiceState, ServiceStatus } from '#core/status.ts';

const READY: ReadonlySet<ServiceState> = new Set(['standby', 'loading', 'indexing', 'streaming', 'paused', 'held']);

export interface Readiness {
  readonly isReady: boolean;
  readonly services: readonly {
    readonly service: string;
    readonly instance: string;
    readonly state: ServiceState;
    readonly detail: string;
  }[];
}

/** Ready when every service is at work, held on purpose, or waits as stand-by (invariant 7). */
export function readinessOf(statuses: readonly ServiceStatus[]): Readiness {
  return {
    isReady: statuses.every((status) => READY.has(status.state)),
    services: statuses.map(({ service, instance, state, detail }) => ({ service, instance, state, detail })),
  };
}
