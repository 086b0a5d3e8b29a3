import type { EpochReader } from '#core/epoch-reader.ts';
import { parseLsn, type Lsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import { readStreamHeaders } from '#core/record.ts';

/** A transaction of an epoch that changed something. */
export interface HistoryTransaction {
  readonly commit: Lsn;
  /** Its commit time, microseconds since 1970; null where nothing that is kept says it. */
  readonly micros: bigint | null;
}

/** The transactions of one epoch, in their order. */
export async function transactionsOf(
  reader: Pick<EpochReader, 'read'>,
  { ranges, control, lastCommit, commitTime }: Pick<Manifest, 'ranges' | 'control' | 'lastCommit' | 'commitTime'>,
  schemasTopic: string,
): Promise<HistoryTransaction[]> {
  const found = new Map<Lsn, bigint | null>();
  const { signal } = new AbortController();
  for (const range of ranges) {
    if (range.topic === schemasTopic) continue;
    for await (const records of reader.read(range, signal)) {
      for (const record of records) {
        const commit = readStreamHeaders(record)?.position.commit;
        if (commit === undefined || record.value === null || found.has(commit)) continue;
        found.set(commit, readCommitTime(record.value));
      }
    }
  }
  for (const entry of control) {
    if (entry.kind !== 'truncate') continue;
    const commit = parseLsn(entry.commit);
    const own = entry.commitTime ?? (entry.commit === lastCommit ? commitTime : null);
    if (!found.has(commit)) found.set(commit, own === null ? null : BigInt(own));
  }
  return [...found].map(([commit, micros]) => ({ commit, micros })).toSorted((a, b) => (a.commit < b.commit ? -1 : 1));
}

/** The first that is later than a time. One whose time nobody knows is as late as the one after it. */
export function firstLater(transactions: readonly HistoryTransaction[], micros: bigint): Lsn | null {
  let at = transactions.findIndex((one) => one.micros !== null && one.micros > micros);
  while (at > 0 && transactions[at - 1]?.micros === null) at -= 1;
  return transactions[at]?.commit ?? null;
}

/** source.ts_us of an envelope: a number of sixteen digits at most. */
function readCommitTime(value: Buffer): bigint | null {
  try {
    const parsed: unknown = JSON.parse(value.toString('utf8'));
    if (typeof parsed !== 'object' || parsed === null || !('source' in parsed)) return null;
    const { source } = parsed;
    if (typeof source !== 'object' || source === null || !('ts_us' in source)) return null;
    return typeof source.ts_us === 'number' && Number.isSafeInteger(source.ts_us) ? BigInt(source.ts_us) : null;
  } catch {
    return null;
  }
}
