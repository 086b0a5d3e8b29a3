import type { EpochReader } from '#core/epoch-reader.ts';
import { tableKey } from '#core/table-name.ts';
import { isLateOpen } from './late-loads.ts';
import type { ManifestBook } from './manifest-book.ts';

/** A late load that an earlier life announced and did not end. */
export interface AnnouncedLoad {
  /** By tableKey: those that were announced, and those that its plans added. */
  readonly tables: ReadonlySet<string>;
  /** The slot was given up meanwhile: only a snapshot of every table that is captured has what the stream lacks since. */
  readonly isOfAll: boolean;
}

/** null where none is open. */
export async function findAnnounced(
  reader: EpochReader,
  { last, lastOffset }: ManifestBook,
): Promise<AnnouncedLoad | null> {
  const at = isLateOpen(last) ? (last?.late?.at ?? null) : null;
  if (at === null) return null;
  const stop = new AbortController();
  const tables = new Set<string>();
  let isOfAll = false;
  for await (const manifests of reader.manifests(BigInt(at), stop.signal)) {
    for (const { manifest } of manifests) {
      isOfAll ||= manifest.released === true;
      for (const table of manifest.tables ?? []) tables.add(tableKey(table));
    }
    if (lastOffset === null || (manifests.at(-1)?.offset ?? 0n) >= lastOffset) break;
  }
  stop.abort();
  return { tables, isOfAll };
}
