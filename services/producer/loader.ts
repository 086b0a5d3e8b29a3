import type pg from 'pg';
import {
  planChunks,
  readChunk,
  TableRewrittenSignal,
  type PageRange,
} from '#adapters/postgres/source/snapshot-reader.ts';
import type { BoundedQueue } from '#core/bounded-queue.ts';
import { TopicBatches } from '#core/topic-batches.ts';
import type { Lsn } from '#core/lsn.ts';
import { chunkHeaders, encodeHeaders } from '#core/record.ts';
import type { TableStructure } from '#core/structure.ts';
import { formatTable, tableKey } from '#core/table-name.ts';
import type { Logger } from '#core/log.ts';
import { joinHeaders } from '#core/debezium/record-headers.ts';
import type { SnapshotMarker } from '#core/debezium/table-events.ts';
import type { LoadItem, PlannedTable } from './load-item.ts';
import type { CapturedTable } from './captured-table.ts';
import type { LoadedTables } from '#core/debezium/loaded-tables.ts';
import type { RelationBook } from './relation-book.ts';
import { SnapshotMarkers } from './snapshot-markers.ts';
import type { WrittenStructures } from './written-structures.ts';

/** An exported snapshot of a slot, alive while its connection stays idle. */
export interface LoadSnapshot {
  readonly name: string;
  readonly lsn: Lsn;
}

export interface LoaderOptions {
  readonly connect: () => Promise<pg.Client>;
  /** A new temporary slot's snapshot, for tables that must be taken again. */
  readonly takeSnapshot: () => Promise<LoadSnapshot>;
  readonly book: RelationBook;
  readonly written: WrittenStructures;
  readonly queue: BoundedQueue<LoadItem>;
  readonly schemasTopic: string;
  readonly workers: number;
  readonly partBytes: number;
  readonly logger: Logger;
  readonly clock: () => number;
  readonly signal: AbortSignal;
  readonly loaded: LoadedTables;
}

type Values = readonly (string | null)[];

interface ChunkTask {
  readonly captured: CapturedTable;
  readonly chunk: number;
  readonly range: PageRange;
}

const CHUNK_BYTES = 16 * 1024 * 1024;
const NO_HEADERS = encodeHeaders([]);

/**
 * Reads tables under one snapshot each, in parallel chunks, and queues plan, chunks, tableEnds and end. A table that was
 * truncated or rewritten since its snapshot is taken again, whole, under a new one and a new plan.
 */
export async function loadTables(
  options: LoaderOptions,
  tables: readonly TableStructure[],
  firstLoad: number,
  first: LoadSnapshot,
): Promise<void> {
  let pending = tables;
  let snapshot = first;
  let load = firstLoad;
  for (;;) {
    pending = await loadUnder(options, pending, load, snapshot);
    if (pending.length === 0 || options.signal.aborted) break;
    options.logger.warn(
      { tables: pending.map(formatTable) },
      'tables were truncated or rewritten while they were copied; they are taken again',
    );
    snapshot = await options.takeSnapshot();
    load += 1;
  }
  if (!options.signal.aborted) await options.queue.put({ kind: 'end', load });
}

/** Returns the tables that must be taken again. */
async function loadUnder(
  options: LoaderOptions,
  tables: readonly TableStructure[],
  load: number,
  snapshot: LoadSnapshot,
): Promise<TableStructure[]> {
  const clients = await Promise.all(Array.from({ length: options.workers }, options.connect));
  try {
    const [planner] = clients;
    const ranges =
      planner === undefined ? new Map<string, PageRange[]>() : await planChunks(planner, tables, CHUNK_BYTES);
    const planned = tables.map((structure) => ({
      structure,
      ranges: ranges.get(tableKey(structure)) ?? [{ from: 0, to: null }],
    }));
    const captured = await options.book.capture(tables, copiedColumns);
    await options.queue.put(
      makePlan(
        options,
        planned.map(({ structure, ranges: list }) => ({ structure, chunks: list.length, rows: 0 })),
        captured,
        load,
        snapshot.lsn,
      ),
    );
    const tasks = planned.flatMap(({ ranges: list }, index) => {
      const table = captured[index];
      return table === undefined ? [] : list.map((range, chunk): ChunkTask => ({ captured: table, chunk, range }));
    });
    const run = new LoadRun(options, load, snapshot, tasks);
    await Promise.all(clients.map((client) => run.work(client)));
    const again = tables.filter((table) => run.rewritten.has(tableKey(table)));
    if (!options.signal.aborted) await run.markers.end(again.length === 0);
    return again;
  } finally {
    await Promise.all(clients.map((client) => client.end().catch(() => undefined)));
  }
}

function makePlan(
  options: LoaderOptions,
  tables: readonly PlannedTable[],
  captured: readonly CapturedTable[],
  load: number,
  snapshot: Lsn,
): LoadItem {
  const structures = new TopicBatches();
  for (const record of captured.flatMap((table) => options.written.addLoaded(table)))
    structures.append(options.schemasTopic, record.key, record.value, NO_HEADERS);
  return { kind: 'plan', load, snapshot, tables, data: structures.finish() };
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
  readonly #tasks: readonly ChunkTask[];
  readonly #left = new Map<string, number>();
  readonly #readMs: number;
  #next = 0;

  constructor(options: LoaderOptions, load: number, snapshot: LoadSnapshot, tasks: readonly ChunkTask[]) {
    this.#options = options;
    this.#load = load;
    this.#snapshot = snapshot;
    this.#tasks = tasks;
    this.#readMs = options.clock();
    this.markers = new SnapshotMarkers((item) => options.queue.put(item));
    for (const task of tasks) {
      const key = tableKey(task.captured.structure);
      this.#left.set(key, (this.#left.get(key) ?? 0) + 1);
    }
  }

  async work(client: pg.Client): Promise<void> {
    for (let task = this.#tasks[this.#next++]; task !== undefined; task = this.#tasks[this.#next++]) {
      const table = task.captured.structure;
      const key = tableKey(table);
      if (this.#options.signal.aborted) return;
      if (this.rewritten.has(key)) continue;
      try {
        await this.#copyChunk(client, task);
      } catch (error) {
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
    const { queue, partBytes, clock } = this.#options;
    const { structure, debezium, record } = task.captured;
    const key = tableKey(structure);
    let batches = new TopicBatches();
    let part = 1;
    let row = 0;
    let partRows = 0;
    const take = (last: boolean): LoadItem => {
      const data = batches.finish();
      this.#options.loaded.noteRows(structure.topic, this.#load, partRows);
      const item = { load: this.#load, table: structure, chunk: task.chunk, part, last, rows: partRows, data };
      batches = new TopicBatches();
      part += 1;
      partRows = 0;
      return { kind: 'chunk', ...item };
    };
    const append = (values: Values, marker: SnapshotMarker, now: number): void => {
      this.#appendRow(batches, task, values, chunkHeaders(task.chunk, row, 0, record.version), marker, now);
      row += 1;
      partRows += 1;
    };
    let held: { readonly values: Values; readonly marker: SnapshotMarker } | null = null;
    for await (const rows of readChunk(client, structure, copiedColumns(structure), task.range, this.#snapshot.name)) {
      const now = clock();
      for (const values of rows) {
        if (debezium === null) append(values, 'true', now);
        else {
          if (held !== null) append(held.values, held.marker, now);
          held = { values, marker: this.markers.start(key) };
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
    values: Values,
    headers: Buffer,
    marker: SnapshotMarker,
    processedMs: number,
  ): void {
    const { lsn } = this.#snapshot;
    const { database } = this.#options.book;
    if (debezium === null) {
      const value = encoder.snapshotRow(encoder.row(values), lsn, processedMs);
      batches.append(structure.topic, encoder.key(values), value, headers);
      return;
    }
    const record = debezium.snapshotRow(values, { database, lsn, marker, readMs: this.#readMs, processedMs });
    batches.append(record.topic, record.key, record.value, joinHeaders(headers, record.headers));
  }
}
