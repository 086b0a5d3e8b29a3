import type { EpochReader } from '#core/epoch-reader.ts';
import { tableKey } from '#core/table-name.ts';
import { isLateOpen } from './late-loads.ts';
import type { ManifestBook } from './manifest-book.ts';

/**
 * The tables (by tableKey) of a late load that an earlier life announced and did not end, and those that its plans added; null where none
 * is open.
 */
export async function findAnnounced(
  reader: EpochReader,
  { last, lastOffset }: ManifestBook,
): Promise<ReadonlySet<string> | null> {
  const at = isLateOpen(last) ? (last?.late?.at ?? null) : null;
  if (at === null) return null;
  const stop = new AbortController();
  const tables = new Set<string>();
  for await (const manifests of reader.manifests(BigInt(at), stop.signal)) {
    for (const { manifest } of manifests) for (const table of manifest.tables ?? []) tables.add(tableKey(table));
    if (lastOffset === null || (manifests.at(-1)?.offset ?? 0n) >= lastOffset) break;
  }
  stop.abort();
  return tables;
}
