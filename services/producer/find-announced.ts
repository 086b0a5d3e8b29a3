import type { EpochReader } from '#core/epoch-reader.ts';
import { tableKey } from '#core/table-name.ts';
import { isLateOpen } from './late-loads.ts';
import type { ManifestBook } from './manifest-book.ts';

/** The tables (by tableKey) of a late load that an earlier life announced and did not end; null where none is open. */
export async function findAnnounced(reader: EpochReader, { last }: ManifestBook): Promise<ReadonlySet<string> | null> {
  const at = isLateOpen(last) ? (last?.late?.at ?? null) : null;
  if (at === null) return null;
  const stop = new AbortController();
  for await (const [first] of reader.manifests(BigInt(at), stop.signal)) {
    stop.abort();
    return new Set((first?.manifest.tables ?? []).map(tableKey));
  }
  return null;
}
