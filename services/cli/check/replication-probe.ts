import { connectPg } from '#adapters/postgres/session.ts';
import { createSlot } from '#adapters/postgres/source/slot.ts';
import { identifySource } from '#adapters/postgres/source/source-identity.ts';
import { RestageError } from '#core/errors.ts';
import { readSetting, type CheckContext } from './check-context.ts';
import type { Finding } from './finding.ts';

const PROBE_SECONDS = 10;

/**
 * The real thing: IDENTIFY_SYSTEM in a walsender session, through whatever stands between, and a temporary slot with
 * pgoutput. Making a slot waits for every open transaction, so it gets a limit; a time-out of the server's has no
 * effect on replication commands.
 */
export async function probeReplication({ config, source }: CheckContext): Promise<Finding[]> {
  const application = `restage probe ${process.pid}`;
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    // A refusal leaves the probe waiting; the server ends it when those transactions do.
    source
      .query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1', [application])
      .catch(() => undefined);
  }, PROBE_SECONDS * 1000);
  try {
    const replication = await connectPg({ url: config.source.url, purpose: 'source', application, replication: true });
    try {
      await identifySource(replication);
      if ((await readSetting(source, 'wal_level')) === 'logical')
        await createSlot(replication, `restage_check_${process.pid}`, 'temporary');
      return [];
    } finally {
      await replication.end();
    }
  } catch (error) {
    return [isLate ? lateFinding() : failureFinding(error)];
  } finally {
    clearTimeout(timer);
  }
}

function lateFinding(): Finding {
  return {
    what: 'making a replication slot takes too long',
    evidence: `a temporary one was not ready after ${PROBE_SECONDS} s`,
    fix: 'end the transactions that source.long_transactions names, or start when they are done',
  };
}

function failureFinding(error: unknown): Finding {
  return {
    what: 'a replication connection or a temporary slot failed',
    evidence: error instanceof Error ? error.message : String(error),
    fix:
      (error instanceof RestageError ? error.fix : undefined) ??
      'connect to the server itself, not to a pooler, and allow the role in pg_hba.conf',
  };
}
