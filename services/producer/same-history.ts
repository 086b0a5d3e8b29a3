import type pg from 'pg';
import { decodePgoutput } from '#adapters/postgres/source/pgoutput-decoder.ts';
import { ReplicationStream } from '#adapters/postgres/source/replication-stream.ts';
import { endStaleWalsender, readSlot } from '#adapters/postgres/source/slot.ts';
import type { Config } from '#core/config.ts';
import { RestageError } from '#core/errors.ts';
import { formatLsn, parseLsn, type Lsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';

export interface HistoryOptions {
  readonly client: pg.Client;
  readonly connectReplication: () => Promise<pg.Client>;
  readonly config: Pick<Config, 'source'>;
  readonly application: string;
  readonly last: Manifest | null;
}

/**
 * A source whose disk was put back, on the same timeline, has another history where it has written as much again: neither its position nor its
 * slot's tells. But the last transaction in Kafka is not there any more. So where the server started after that and the slot is before it,
 * the slot is asked for that one transaction, and confirms nothing. @throws RestageError source_replaced.
 */
export async function requireSameHistory(options: HistoryOptions, signal: AbortSignal): Promise<void> {
  const { client, application } = options;
  const { source } = options.config;
  const doubtful = await findDoubtful(options);
  if (doubtful === null) return;
  const { commit, confirmed } = doubtful;
  const replication = await options.connectReplication();
  const stream = new ReplicationStream(replication, source.slot, source.publication, commit, confirmed);
  let isThere = false;
  try {
    isThere = await isSent(stream, commit, signal);
  } finally {
    await stream.close();
    await endStaleWalsender(client, source.slot, application);
  }
  if (isThere || signal.aborted) return;
  throw new RestageError('source_replaced', 'the source was rewound: it has not the last transaction that Kafka has', {
    where: `commit ${formatLsn(commit)}, slot ${source.slot}`,
    fix: 'start the pipeline anew under another name, with empty targets',
  });
}

interface Doubtful {
  readonly commit: Lsn;
  /** The slot's. */
  readonly confirmed: Lsn;
}

/** The last commit in Kafka; null where this very server process has made it, or the slot has confirmed it. */
async function findDoubtful({ client, config, last }: HistoryOptions): Promise<Doubtful | null> {
  // Ordinals of events begin at 1: 0 is a position between transactions.
  if (last === null || last.lastCommit === null || last.lastOrdinal === 0 || last.commitTime === null) return null;
  const { rows } = await client.query<{ is_later: boolean }>(
    `SELECT extract(epoch FROM pg_postmaster_start_time()) * 1000000 > $1::numeric AS is_later`,
    [last.commitTime],
  );
  if (rows[0]?.is_later !== true) return null;
  const commit = parseLsn(last.lastCommit);
  const slot = await readSlot(client, config.source.slot);
  return slot?.confirmed != null && slot.confirmed <= commit ? { commit, confirmed: slot.confirmed } : null;
}

/** The stream begins with the first transaction that committed there or later, or says that it is past it. */
async function isSent(stream: ReplicationStream, commit: Lsn, signal: AbortSignal): Promise<boolean> {
  for await (const frames of stream.frames(signal)) {
    for (const frame of frames) {
      if (frame.kind === 'keepalive' && frame.walEnd > commit) return false;
      const message = frame.kind === 'data' ? decodePgoutput(frame.bytes, frame.from, frame.end) : null;
      if (message?.tag === 'begin') return message.commit === commit;
    }
  }
  return false;
}
