import type { KeptSnapshot } from '#adapters/postgres/source/kept-snapshot.ts';
import type { TablePiece } from '#adapters/postgres/source/snapshot-reader.ts';
import type { EpochReader } from '#core/epoch-reader.ts';
import { parseLsn, type Lsn } from '#core/lsn.ts';
import type { Manifest } from '#core/manifest.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';
import { tableKey } from '#core/table-name.ts';
import type { LoadedTables } from '#core/debezium/loaded-tables.ts';
import { isLateOpen } from './late-loads.ts';
import type { ManifestBook } from './manifest-book.ts';

/** What an earlier life left of the load. */
export interface UnfinishedLoad {
  /** Tables that are taken whole. */
  readonly fresh: readonly TableStructure[];
  /** Tables that the newest plan has and that can be gone on with while its snapshot is there; else they are fresh too. */
  readonly begun: BegunLoad | null;
  /** Tables that were to be loaded and are no longer there: they end without rows. */
  readonly gone?: readonly TableStructure[];
}

export interface BegunLoad {
  readonly load: number;
  readonly snapshot: Lsn;
  readonly kept: KeptSnapshot;
  readonly tables: readonly BegunTable[];
  /** Of the whole plan, for progress. */
  readonly figures: {
    readonly tables: number;
    readonly tablesDone: number;
    readonly chunks: number;
    readonly chunksDone: number;
    readonly rows: number;
  };
}

export interface BegunTable {
  readonly structure: TableStructure;
  readonly cut: readonly TablePiece[];
  /** By number of the chunk; none: nothing of it is in Kafka. */
  readonly written: ReadonlyMap<number, WrittenChunk>;
}

/** What of a chunk is in Kafka. */
export interface WrittenChunk {
  readonly parts: number;
  readonly rows: number;
  readonly isComplete: boolean;
}

/**
 * The tables whose load an earlier life began and did not end, from the manifests since the first plan, or since the announcement of a late
 * load that is open (`chosen` are its tables then). Before any plan: all. `newestOf` tells the structure of a table that is gone, `loaded`
 * learns what was written of each table.
 */
export async function findUnfinished(
  reader: EpochReader,
  book: ManifestBook,
  chosen: readonly TableStructure[],
  newestOf: (topic: string) => TableStructure | null,
  loaded: LoadedTables | null = null,
): Promise<UnfinishedLoad> {
  const plan = book.last?.plan ?? null;
  const isOver = book.last?.loaded === true;
  if (isOver && loaded === null) return { fresh: [], begun: null };
  if (plan === null) return { fresh: chosen, begun: null };
  const late = isLateOpen(book.last) ? (book.last?.late?.at ?? null) : null;
  const from = BigInt(late ?? plan);
  const first = loaded === null ? from : BigInt(plan);
  const history = new LoadHistory();
  const stop = new AbortController();
  const end = await reader.end();
  if (first < end) {
    for await (const chunk of reader.manifests(first, stop.signal)) {
      for (const { offset, manifest } of chunk) {
        if (offset >= from) history.note(manifest);
        if (loaded !== null && manifest.table !== undefined) noteLoaded(loaded, manifest.table.topic, manifest);
      }
      const lastOffset = chunk.at(-1)?.offset ?? 0n;
      if (book.lastOffset !== null && lastOffset >= book.lastOffset) break;
      if (isOver && chunk.some(({ manifest }) => manifest.kind === 'end')) break;
    }
  }
  stop.abort();
  if (isOver) return { fresh: [], begun: null };
  return { ...history.unfinished(chosen), gone: history.gone(chosen).flatMap((topic) => newestOf(topic) ?? []) };
}

function noteLoaded(loaded: LoadedTables, topic: string, { kind, load, rows = 0, snapshot }: Manifest): void {
  if (kind === 'chunk') loaded.noteRows(topic, load, rows);
  if (kind === 'tableEnd' && snapshot !== undefined) loaded.noteEnd(topic, load, parseLsn(snapshot));
}

type PlannedTable = NonNullable<Manifest['tables']>[number];

/** What manifests say of the load. */
class LoadHistory {
  readonly #done = new Set<string>();
  /** Topics of all that was announced or planned, by tableKey. */
  readonly #named = new Map<string, string>();
  #plan: Manifest | null = null;
  /** Of the newest plan's load, by table and chunk. */
  #written = new Map<string, Map<number, WrittenChunk>>();

  note(manifest: Manifest): void {
    const { kind, table, load, chunk = 0, part, rows = 0, last } = manifest;
    // What the stream gives to these rows is missing from here on: all are taken again, under a later snapshot.
    if (manifest.released === true) this.#forget();
    for (const named of manifest.tables ?? []) this.#named.set(tableKey(named), named.topic);
    if (kind === 'plan') {
      this.#plan = manifest;
      this.#written = new Map();
      for (const again of manifest.tables ?? []) this.#done.delete(tableKey(again));
    }
    if (table === undefined) return;
    if (kind === 'tableEnd') this.#done.add(tableKey(table));
    if (kind !== 'chunk' || load !== this.#plan?.load) return;
    const chunks = this.#written.get(tableKey(table)) ?? new Map<number, WrittenChunk>();
    this.#written.set(tableKey(table), chunks);
    chunks.set(chunk, { parts: part, rows: rows + (chunks.get(chunk)?.rows ?? 0), isComplete: last });
  }

  #forget(): void {
    this.#done.clear();
    this.#plan = null;
    this.#written = new Map();
  }

  /** Topics of tables that are to end and that nobody chooses any more. */
  gone(chosen: readonly TableStructure[]): string[] {
    const there = new Set(chosen.map(tableKey));
    return [...this.#named].filter(([name]) => !there.has(name) && !this.#done.has(name)).map(([, topic]) => topic);
  }

  unfinished(chosen: readonly TableStructure[]): UnfinishedLoad {
    const left = chosen.filter((table) => !this.#done.has(tableKey(table)));
    const { kept, load, snapshot, tables: planned = [] } = this.#plan ?? { load: 0 };
    if (kept === undefined || snapshot === undefined) return { fresh: left, begun: null };
    const plan = new Map(planned.map((table) => [tableKey(table), table]));
    const tables = left.flatMap((structure) => this.#begun(structure, plan.get(tableKey(structure))) ?? []);
    if (tables.length === 0) return { fresh: left, begun: null };
    const written = [...this.#written.values()].flatMap((chunks) => [...chunks.values()]);
    const figures = {
      tables: planned.length,
      tablesDone: planned.filter((table) => this.#done.has(tableKey(table))).length,
      chunks: planned.reduce((sum, { chunks }) => sum + chunks, 0),
      chunksDone: written.filter(({ isComplete }) => isComplete).length,
      rows: written.reduce((sum, { rows }) => sum + rows, 0),
    };
    const begun = new Set(tables.map(({ structure }) => structure));
    return {
      fresh: left.filter((structure) => !begun.has(structure)),
      begun: { load, snapshot: parseLsn(snapshot), kept, tables, figures },
    };
  }

  /** null where rows of before could differ from those to come: in their columns, or in their order. */
  #begun(structure: TableStructure, planned: PlannedTable | undefined): BegunTable | null {
    if (planned === undefined || planned.version !== structureVersion(structure)) return null;
    const cut = (planned.cut ?? []).map(({ partition = null, chunks, pages = null }) => ({ partition, chunks, pages }));
    const written = this.#written.get(tableKey(structure)) ?? new Map<number, WrittenChunk>();
    const isOrdered = cut.flatMap(({ chunks, pages }) => Array.from({ length: chunks }, () => pages !== null));
    const isInOrder = [...written].every(([chunk, { isComplete }]) => isComplete || isOrdered[chunk] === true);
    return isInOrder ? { structure, cut, written } : null;
  }
}
