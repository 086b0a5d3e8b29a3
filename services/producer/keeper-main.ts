import { connectPg } from '#adapters/postgres/session.ts';
import type { KeptSnapshot } from '#adapters/postgres/source/kept-snapshot.ts';
import type { Config } from '#core/config.ts';
import type { Failpoints } from '#core/failpoints.ts';
import { keeperApplication, producerLease } from '#core/session-names.ts';
import { runSnapshotKeeper } from './snapshot-keeper.ts';

export interface KeeperContext {
  readonly snapshot: string;
  readonly onKept: (kept: KeptSnapshot) => void;
  readonly failpoints: Failpoints;
  readonly signal: AbortSignal;
}

const LEAST_SILENCE_MS = 60_000;

/** The keeper: a process that a producer starts and that outlives it, so that the load's snapshot does. */
export async function main(config: Config, context: KeeperContext): Promise<void> {
  const { url, slot, keepSnapshotMinutes } = config.source;
  const keepMs = keepSnapshotMinutes * 60_000;
  // One that hangs asks no more: the server ends its session then, and vacuum is free.
  const silence = `${Math.ceil(Math.max(keepMs, LEAST_SILENCE_MS))}ms`;
  const client = await connectPg({
    url,
    purpose: 'source',
    application: keeperApplication(config.name),
    settings: { idle_in_transaction_session_timeout: silence },
  });
  try {
    const lease = producerLease(config.name);
    const clock = (): number => performance.now();
    await runSnapshotKeeper({ ...context, client, lease, slot, keepMs, clock }, context.signal);
  } finally {
    await client.end().catch(() => undefined);
  }
}
