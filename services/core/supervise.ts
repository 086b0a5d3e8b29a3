import { backoffMs, pause } from '#core/backoff.ts';
import { reactTo } from '#core/error-policy.ts';
import { describeError, RestageError } from '#core/errors.ts';
import type { Lease } from '#core/lease.ts';
import type { Logger } from '#core/log.ts';
import type { ServiceStatus } from '#core/status.ts';

export interface SuperviseOptions {
  readonly status: ServiceStatus;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  readonly clock: () => number;
  readonly lease: Pick<Lease, 'release'>;
}

/** An attempt that lived this long was healthy: the next failure starts the back-off anew. */
const HEALTHY_MS = 30_000;

/**
 * Runs attempts whole until one returns, the policy says stop (then its error is thrown), or a drain is asked for.
 * Nothing inside an attempt retries on its own. The lease is kept from one attempt to the next, but by a fenced holder: another has it, or
 * the broker gave up on this one's transaction, and only who wins the lease again may go on.
 */
export async function supervise(options: SuperviseOptions, attempt: () => Promise<void>): Promise<void> {
  const { status, logger, signal, clock, lease } = options;
  for (let failures = 0; !signal.aborted;) {
    const startedAt = clock();
    try {
      await attempt();
      return;
    } catch (error) {
      if (signal.aborted) return;
      if (reactTo(error).do === 'stop') throw error;
      failures = clock() - startedAt > HEALTHY_MS ? 1 : failures + 1;
      if (error instanceof RestageError && error.code === 'fenced') await lease.release();
      status.state = 'retrying';
      status.detail = describeError(error);
      logger.warn({ reason: status.detail, failures }, 'an attempt failed and is made again');
      await pause(backoffMs(failures), signal);
    }
  }
}
