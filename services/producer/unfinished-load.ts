import type { EpochReader } from '#core/epoch-reader.ts';
import { parseLsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import type { TableStructure } from '#core/structure.ts';
import { tableKey, type TableName } from '#core/table-name.ts';
import type { LoadedTables } from '#core/debezium/loaded-tables.ts';
import type { ManifestBook } from './manifest-book.ts';

/**
 * The tables whose load an earlier life began and did not end, from the manifests since the first plan. Before any plan:
 * all. The snapshot went with that life, so they are taken again, whole. `loaded` learns what was written of each table.
 */
export async function findUnfinished(
  reader: EpochReader,
  book: ManifestBook,
  chosen: readonly TableStructure[],
  loaded: LoadedTables | null = null,
): Promise<TableStructure[]> {
  const plan = book.last?.plan ?? null;
  if (book.last?.loaded === true && loaded === null) return [];
  if (plan === null) return [...chosen];
  const done = new Set<string>();
  const stop = new AbortController();
  const end = await reader.end();
  if (BigInt(plan) < end) {
    for await (const chunk of reader.manifests(BigInt(plan), stop.signal)) {
      for (const { manifest } of chunk) {
        noteTable(done, manifest.kind, manifest.table, manifest.tables);
        if (loaded !== null && manifest.table !== undefined) noteLoaded(loaded, manifest.table.topic, manifest);
      }
      const lastOffset = chunk.at(-1)?.offset ?? 0n;
      if (book.lastOffset !== null && lastOffset >= book.lastOffset) break;
      if (book.last?.loaded === true && chunk.some(({ manifest }) => manifest.kind === 'end')) break;
    }
  }
  stop.abort();
  if (book.last?.loaded === true) return [];
  return chosen.filter((table) => !done.has(tableKey(table)));
}

function noteLoaded(loaded: LoadedTables, topic: string, { kind, load, rows = 0, snapshot }: Manifest): void {
  if (kind === 'chunk') loaded.noteRows(topic, load, rows);
  if (kind === 'tableEnd' && snapshot !== undefined) loaded.noteEnd(topic, load, parseLsn(snapshot));
}

function noteTable(
  done: Set<string>,
  kind: string,
  table: TableName | undefined,
  planned: readonly TableName[] | undefined,
): void {
  if (kind === 'tableEnd' && table !== undefined) done.add(tableKey(table));
  if (kind === 'plan') for (const again of planned ?? []) done.delete(tableKey(again));
}
