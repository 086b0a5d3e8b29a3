import type pg from 'pg';
import {
  planChunks,
  readChunk,
  TableRewrittenSignal,
  type ChunkRange,
  type TablePiece,
} from '#adapters/postgres/source/snapshot-reader.ts';
import type { BoundedQueue } from '#core/bounded-queue.ts';
import { ByteWriters } from '#core/byte-writers.ts';
import { RestageError } from '#core/errors.ts';
import { TopicBatches } from '#core/topic-batches.ts';
import type { Partitioner } from '#core/partitioner.ts';
import { NO_HEADERS } from '#core/fixed-headers.ts';
import { chunkHeaders } from '#core/record.ts';
import type { Lsn } from '#core/lsn.ts';
import { structureVersion, type TableStructure } from '#core/structure.ts';
import { formatTable, tableKey } from '#core/table-name.ts';
import type { Logger } from '#core/log.ts';
import { textsOf, type SentTuple, type Tuple } from '#core/tuple.ts';
import { joinHeaders } from '#core/debezium/record-headers.ts';
import type { SnapshotMarker } from '#core/debezium/table-events.ts';
import type { LoadItem } from './load-item.ts';
import type { LoadSnapshot, LoadSnapshots } from './load-snapshots.ts';
import type { BegunLoad, BegunTable, UnfinishedLoad } from './unfinished-load.ts';
import type { CapturedTable } from './captured-table.ts';
import type { LoadedTables } from '#core/debezium/loaded-tables.ts';
import type { RelationBook } from './relation-book.ts';
import { SnapshotMarkers } from './snapshot-markers.ts';
import type { TableTopics } from './table-topics.ts';
import type { WrittenStructures } from './written-structures.ts';

export interface LoaderOptions {
  /** A session with READER_SETTINGS. */
  readonly connect: () => Promise<pg.Client>;
  readonly snapshots: LoadSnapshots;
  /** An earlier life's load is gone on with, of which this much is in Kafka. */
  readonly onResume: (figures: BegunLoad['figures']) => void;
  readonly book: Pick<RelationBook, 'capture' | 'database'>;
  /** Tables as the source's catalog has them now; those that are gone are left out. */
  readonly refresh: (tables: readonly TableStructure[]) => Promise<readonly TableStructure[]>;
  /** Has the changes of those sent that were not, and returns them: a snapshot from before that has not all of their rows. */
  readonly publish: (tables: readonly TableStructure[]) => Promise<readonly TableStructure[]>;
  /** Whatever the catalog has shown so far committed before. */
  readonly now: () => Promise<Lsn>;
  readonly written: WrittenStructures;
  readonly queue: BoundedQueue<LoadItem>;
  readonly schemasTopic: string;
  readonly workers: number;
  readonly partBytes: number;
  readonly partitionOf: Partitioner;
  readonly logger: Logger;
  readonly clock: () => number;
  readonly signal: AbortSignal;
  readonly loaded: LoadedTables;
  readonly tableTopics: Pick<TableTopics, 'notePlan' | 'whenMade' | 'whenAllMade'>;
  /** Whoever reads has the rows already: tables are planned and ended, and no row is read. */
  readonly isBaseline: boolean;
}

interface ChunkTask {
  readonly captured: CapturedTable;
  /** Its number in the table. */
  readonly chunk: number;
  readonly range: ChunkRange;
  /** Parts of it that are in Kafka. */
  readonly parts: number;
}

/** What is read under one snapshot. */
interface LoadUnder {
  readonly load: number;
  readonly snapshot: LoadSnapshot;
  readonly tables: readonly BegunTable[];
  /** No table is taken after these but those that are rewritten meanwhile. */
  readonly isLast: boolean;
}

const CHUNK_BYTES = 16 * 1024 * 1024;

/**
 * Reads tables under one snapshot each, in parallel chunks, and queues plan, chunks, tableEnds and end. What an earlier life began is gone
 * on with while its snapshot is there: then only what is missing is read. A table that was truncated or rewritten since its snapshot is
 * taken again, whole, under a new one and a new plan.
 */
export async function loadTables(
  options: LoaderOptions,
  { begun, fresh, gone: lost = [] }: UnfinishedLoad,
  lastLoad: number,
  first: LoadSnapshot | null,
): Promise<void> {
  const { signal, snapshots } = options;
  let pending = fresh;
  let gone = lost;
  let load = lastLoad;
  if (begun === null) await snapshots.endOthers(first?.kept ?? null);
  else pending = [...fresh, ...(await goOn(options, begun, fresh.length + gone.length === 0))];
  for (let snapshot = first; pending.length + gone.length > 0 && !signal.aborted; snapshot = null) {
    const under = snapshot ?? (await snapshots.take(signal));
    if (under === null) return;
    // Taken again because they were altered, perhaps: their rows have another structure then.
    const there = snapshot === null ? await options.refresh(pending) : pending;
    const names = new Set(there.map(tableKey));
    gone = [...gone, ...pending.filter((table) => !names.has(tableKey(table)))];
    const unsent = await options.publish(there);
    const tables = there.filter((table) => !unsent.includes(table));
    pending = unsent;
    if (tables.length + gone.length === 0) continue;
    load += 1;
    const taken = { tables, gone, load, snapshot: under, isLast: unsent.length === 0 };
    pending = [...unsent, ...(await takeTables(options, taken))];
    gone = [];
  }
  if (!signal.aborted) await options.queue.put({ kind: 'end', load, onWritten: () => snapshots.endAll() });
}

/** Returns the tables that must be taken again: all where the snapshot is gone. */
async function goOn(options: LoaderOptions, begun: BegunLoad, isLast: boolean): Promise<readonly TableStructure[]> {
  const { logger, snapshots } = options;
  const { load, tables } = begun;
  const snapshot = await snapshots.find(begun.kept, begun.snapshot);
  await snapshots.endOthers(snapshot?.kept ?? null);
  if (snapshot === null) {
    logger.warn(
      { tables: tables.length },
      'the snapshot of the load is gone: tables that are not finished are taken again, whole',
    );
    return tables.map(({ structure }) => structure);
  }
  const { chunksDone, chunks } = begun.figures;
  logger.info({ tables: tables.length, chunks, chunksDone }, 'the load goes on under its snapshot, which was kept');
  options.onResume(begun.figures);
  return readUnder(options, { load, snapshot, tables, isLast });
}

/** What is planned under one snapshot. */
interface TakenTables extends Omit<LoadUnder, 'tables'> {
  readonly tables: readonly TableStructure[];
  /** Were dropped: they end without rows, and what the stream has of them is left out. */
  readonly gone: readonly TableStructure[];
}

/** Returns the tables that must be taken again. */
async function takeTables(
  options: LoaderOptions,
  { tables: structures, gone, load, snapshot, isLast }: TakenTables,
): Promise<readonly TableStructure[]> {
  const cuts = options.isBaseline
    ? new Map(structures.map((structure) => [tableKey(structure), []]))
    : await cutTables(options, structures);
  const there = structures.map((structure): BegunTable => {
    const cut = cuts.get(tableKey(structure));
    // Another attempt asks the catalog which tables there are.
    if (cut === undefined)
      throw new RestageError('transient', 'a table was dropped before it was copied', {
        where: formatTable(structure),
      });
    return { structure, cut, written: new Map() };
  });
  const captured = await options.book.capture(structures, copiedColumns);
  const tables = [...there, ...gone.map((structure) => ({ structure, cut: [], written: new Map() }))];
  await options.queue.put(makePlan(options, tables, captured, load, snapshot));
  if (gone.length > 0) await endGone(options, gone, load);
  return readUnder(options, { load, snapshot, tables: there, isLast }, captured);
}

/** They were dropped after the snapshot, perhaps: what the stream has of them is older than this moment. */
async function endGone(options: LoaderOptions, gone: readonly TableStructure[], load: number): Promise<void> {
  const lsn = await options.now();
  for (const table of gone) {
    options.loaded.noteEnd(table.topic, load, lsn);
    await options.queue.put({ kind: 'tableEnd', load, table, snapshot: lsn });
  }
}

async function cutTables(
  options: LoaderOptions,
  structures: readonly TableStructure[],
): Promise<ReadonlyMap<string, readonly TablePiece[]>> {
  const client = await options.connect();
  try {
    return await planChunks(client, structures, CHUNK_BYTES);
  } finally {
    await client.end();
  }
}

/** Returns the tables that must be taken again. */
async function readUnder(
  options: LoaderOptions,
  under: LoadUnder,
  known: readonly CapturedTable[] | null = null,
): Promise<readonly TableStructure[]> {
  const structures = under.tables.map(({ structure }) => structure);
  const captured = known ?? (await options.book.capture(structures, copiedColumns));
  const run = new LoadRun(options, under, listTasks(under.tables, captured));
  const clients = await Promise.all(Array.from({ length: options.workers }, options.connect));
  try {
    await run.endReadTables();
    await Promise.all(clients.map((client) => run.work(client)));
    await options.tableTopics.whenAllMade();
  } finally {
    await Promise.all(clients.map((client) => client.end().catch(() => undefined)));
  }
  const again = structures.filter((table) => run.rewritten.has(tableKey(table)));
  if (!options.signal.aborted) await run.markers.end(under.isLast && again.length === 0);
  if (again.length > 0)
    options.logger.warn(
      { tables: again.map(formatTable) },
      'tables were truncated or rewritten while they were copied; they are taken again',
    );
  return again;
}

/** The chunks that are not complete in Kafka, in the order of the tables. */
function listTasks(tables: readonly BegunTable[], captured: readonly CapturedTable[]): ChunkTask[] {
  return tables.flatMap(({ cut, written }, at) => {
    const table = captured[at];
    if (table === undefined) return [];
    const ranges = cut.flatMap(({ partition, chunks, pages }) =>
      Array.from({ length: chunks }, (_, index) => ({ partition, pages, index, isLast: index === chunks - 1 })),
    );
    return ranges.flatMap((range, chunk): ChunkTask[] => {
      const { parts, rows: skip, isComplete } = written.get(chunk) ?? { parts: 0, rows: 0, isComplete: false };
      return isComplete ? [] : [{ captured: table, chunk, range: { ...range, skip }, parts }];
    });
  });
}

function makePlan(
  options: LoaderOptions,
  tables: readonly BegunTable[],
  captured: readonly CapturedTable[],
  load: number,
  { lsn, kept }: LoadSnapshot,
): LoadItem {
  const structures = new TopicBatches();
  for (const record of captured.flatMap((table) => options.written.addLoaded(table)))
    structures.append(options.schemasTopic, record.key, record.value, NO_HEADERS);
  return {
    kind: 'plan',
    load,
    snapshot: lsn,
    kept,
    tables: tables.map(({ structure, cut }) => ({ structure, cut, rows: 0, version: structureVersion(structure) })),
    data: structures.finish(),
    onWritten: () => {
      options.tableTopics.notePlan();
      return options.snapshots.endOthers(kept);
    },
  };
}

/** Generated columns are computed at the target, in snapshot and stream alike. */
export function copiedColumns(structure: TableStructure): string[] {
  return structure.columns.filter((column) => !column.generated).map((column) => column.name);
}

/** Workers share one list of tasks; the one that ends a table's last chunk ends the table. */
class LoadRun {
  readonly rewritten = new Set<string>();
  readonly markers: SnapshotMarkers;
  readonly #options: LoaderOptions;
  readonly #load: number;
  readonly #snapshot: LoadSnapshot;
  readonly #tables: readonly BegunTable[];
  readonly #tasks: readonly ChunkTask[];
  readonly #left = new Map<string, number>();
  readonly #writers = new ByteWriters();
  readonly #readMs: number;
  #next = 0;

  constructor(options: LoaderOptions, { load, snapshot, tables }: LoadUnder, tasks: readonly ChunkTask[]) {
    this.#options = options;
    this.#load = load;
    this.#snapshot = snapshot;
    this.#tables = tables;
    this.#tasks = tasks;
    this.#readMs = options.clock();
    const begun = tables.filter(({ written }) => [...written.values()].some(({ rows }) => rows > 0));
    const keys = begun.map(({ structure }) => tableKey(structure));
    this.markers = new SnapshotMarkers((item) => options.queue.put(item), keys);
    for (const { structure } of tables) this.#left.set(tableKey(structure), 0);
    for (const task of tasks) {
      const key = tableKey(task.captured.structure);
      this.#left.set(key, (this.#left.get(key) ?? 0) + 1);
    }
  }

  /** Tables all of whose chunks an earlier life wrote. */
  async endReadTables(): Promise<void> {
    for (const { structure } of this.#tables)
      if (this.#left.get(tableKey(structure)) === 0) await this.#endTable(structure);
  }

  async work(client: pg.Client): Promise<void> {
    for (let task = this.#tasks[this.#next++]; task !== undefined; task = this.#tasks[this.#next++]) {
      const table = task.captured.structure;
      const key = tableKey(table);
      await this.#options.tableTopics.whenMade(table.topic);
      if (this.#options.signal.aborted) return;
      if (this.rewritten.has(key)) continue;
      try {
        await this.#copyChunk(client, task);
      } catch (error) {
        if (this.#options.signal.aborted) return;
        if (!(error instanceof TableRewrittenSignal)) throw error;
        this.rewritten.add(key);
        continue;
      }
      const left = (this.#left.get(key) ?? 0) - 1;
      this.#left.set(key, left);
      if (left === 0) await this.#endTable(table);
    }
  }

  async #endTable(table: TableStructure): Promise<void> {
    const { lsn } = this.#snapshot;
    this.#options.loaded.noteEnd(table.topic, this.#load, lsn);
    await this.markers.tableRead(tableKey(table), { kind: 'tableEnd', load: this.#load, table, snapshot: lsn });
  }

  async #copyChunk(client: pg.Client, task: ChunkTask): Promise<void> {
    const { queue, partBytes, clock, signal } = this.#options;
    const { structure, debezium, record, mask } = task.captured;
    const { chunk, range } = task;
    const key = tableKey(structure);
    let batches = new TopicBatches(this.#writers);
    let part = task.parts + 1;
    let row = range.skip;
    let partRows = 0;
    const take = (last: boolean): LoadItem => {
      const data = batches.finish();
      this.#options.loaded.noteRows(structure.topic, this.#load, partRows);
      const item = { load: this.#load, table: structure, chunk, part, last, rows: partRows, data };
      batches = new TopicBatches(this.#writers);
      part += 1;
      partRows = 0;
      return { kind: 'chunk', ...item };
    };
    const append = (values: SentTuple, marker: SnapshotMarker, now: number): void => {
      this.#appendRow(batches, task, values, chunkHeaders(chunk, row, 0, record.version), marker, now);
      row += 1;
      partRows += 1;
    };
    let held: { readonly values: Tuple; readonly marker: SnapshotMarker } | null = null;
    for await (const rows of readChunk(client, structure, copiedColumns(structure), range, this.#snapshot, signal)) {
      const now = clock();
      for (const read of rows) {
        const values = mask === null ? read : mask(textsOf(read));
        if (debezium === null) append(values, 'true', now);
        else {
          if (held !== null) append(held.values, held.marker, now);
          held = { values: textsOf(values), marker: this.markers.start(key) };
        }
      }
      if (batches.bytes >= partBytes) await queue.put(take(false));
    }
    const tail = held;
    if (tail === null) return queue.put(take(true));
    const finish = (marker: SnapshotMarker): LoadItem => {
      append(tail.values, tail.marker === 'first' || marker === 'true' ? tail.marker : marker, clock());
      return take(true);
    };
    await this.markers.chunkRead(key, { finish });
  }

  #appendRow(
    batches: TopicBatches,
    { captured: { structure, encoder, debezium } }: ChunkTask,
    values: SentTuple,
    headers: Buffer,
    marker: SnapshotMarker,
    processedMs: number,
  ): void {
    const { lsn } = this.#snapshot;
    const { partitionOf, book } = this.#options;
    const { database } = book;
    if (debezium === null) {
      const { key, value } = encoder.snapshot(values, lsn, processedMs);
      batches.appendRow(structure.topic, key, value, headers, partitionOf(key));
      return;
    }
    const record = debezium.snapshotRow(textsOf(values), { database, lsn, marker, readMs: this.#readMs, processedMs });
    const all = joinHeaders(headers, record.headers);
    batches.append(record.topic, record.key, record.value, all, partitionOf(record.key));
  }
}
