import type { BoundedQueue } from '#core/bounded-queue.ts';
import type { PartitionRecords } from '#core/epoch-writer.ts';
import type { Lsn } from '#core/lsn.ts';
import type { Partitioner } from '#core/partitioner.ts';
import { encodeHeaders } from '#core/fixed-headers.ts';
import { chunkHeaders } from '#core/record.ts';
import type { TableStructure } from '#core/structure.ts';
import { TopicBatches } from '#core/topic-batches.ts';
import type { CapturedTable } from '../../../services/producer/captured-table.ts';
import { chunksIn, type LoadItem } from '../../../services/producer/load-item.ts';
import type { BegunLoad, BegunTable } from '../../../services/producer/unfinished-load.ts';
import type { WrittenStructures } from '../../../services/producer/written-structures.ts';
import { tick, type Choices } from './choices.ts';
import { RELATIONS, type MemoryWal } from './memory-wal.ts';
import { TABLES } from './tables.ts';

export interface SnapshotLoad {
  readonly wal: MemoryWal;
  readonly written: WrittenStructures;
  readonly queue: BoundedQueue<LoadItem>;
  readonly pace: Choices;
  readonly partitionOf: Partitioner;
  readonly schemasTopic: string;
  readonly capture: (structure: TableStructure) => CapturedTable;
  /** The LSN of a new slot's snapshot. */
  readonly takeSnapshot: () => Lsn;
}

/** A table as a plan cuts it. */
interface CutTable {
  readonly table: CapturedTable;
  readonly chunks: number;
  readonly written: BegunTable['written'];
}

/** Rows of each chunk but the last, which stand for pages. */
const CHUNK_ROWS = 2;

/**
 * Plan, chunks, tableEnds and end, as the loader queues them; tables that a schedule calls rewritten are taken again. What an earlier life
 * began is gone on with where its snapshot is still kept.
 */
export async function loadSnapshot(
  options: SnapshotLoad,
  { begun, fresh }: { readonly begun: BegunLoad | null; readonly fresh: readonly CapturedTable[] },
  lastLoad: number,
  first: Lsn | null,
): Promise<void> {
  const { queue } = options;
  let [pending, load]: [readonly CapturedTable[], number] = [fresh, lastLoad];
  if (begun !== null) {
    const tables = begun.tables.map(({ structure, cut, written }) => {
      return { table: options.capture(structure), chunks: chunksIn(cut), written };
    });
    pending = [...fresh, ...(await putTables(options, tables, begun.load, begun.snapshot))];
  }
  for (let snapshot = first; pending.length > 0; snapshot = null) {
    load += 1;
    const lsn = snapshot ?? options.takeSnapshot();
    const tables = pending.map((table) => {
      return {
        table,
        chunks: Math.max(1, Math.ceil(rowsOf(options, table, lsn).length / CHUNK_ROWS)),
        written: new Map(),
      };
    });
    await queue.put(plan(options, tables, load, lsn));
    pending = await putTables(options, tables, load, lsn);
  }
  await queue.put({ kind: 'end', load });
}

/** Returns those that were rewritten meanwhile. */
async function putTables(
  options: SnapshotLoad,
  tables: readonly CutTable[],
  load: number,
  snapshot: Lsn,
): Promise<CapturedTable[]> {
  const again: CapturedTable[] = [];
  for (const cut of tables) {
    const isRewritten = options.pace.of(8) === 1;
    await putChunks(options, cut, load, snapshot, isRewritten);
    if (isRewritten) again.push(cut.table);
    else await options.queue.put({ kind: 'tableEnd', load, table: cut.table.structure, snapshot });
  }
  return again;
}

function plan(options: SnapshotLoad, tables: readonly CutTable[], load: number, snapshot: Lsn): LoadItem {
  const structures = new TopicBatches();
  for (const record of tables.flatMap(({ table }) => options.written.addLoaded(table)))
    structures.append(options.schemasTopic, record.key, record.value, encodeHeaders([]));
  const planned = tables.map(({ table: { structure, record }, chunks }) => {
    return { structure, cut: [{ partition: null, chunks, pages: 1 }], rows: 0, version: record.version };
  });
  const kept = { name: '00000003-00000001-1', sees: String(snapshot), backend: 1 };
  return { kind: 'plan', load, snapshot, kept, tables: planned, data: structures.finish() };
}

/** A row or two each, now and then in parts; a rewritten table's end before their own. */
async function putChunks(
  options: SnapshotLoad,
  { table, chunks, written }: CutTable,
  load: number,
  snapshot: Lsn,
  isCutShort: boolean,
): Promise<void> {
  const { queue, pace } = options;
  const rows = rowsOf(options, table, snapshot);
  for (let chunk = 0; chunk < chunks; chunk += 1) {
    const { parts, rows: skip, isComplete } = written.get(chunk) ?? { parts: 0, rows: 0, isComplete: false };
    if (isComplete) continue;
    const own = rows.slice(chunk * CHUNK_ROWS, chunk === chunks - 1 ? undefined : (chunk + 1) * CHUNK_ROWS);
    let part = parts + 1;
    for (let at = skip, last = false; !last; part += 1) {
      const some = own.slice(at, at + 1 + pace.of(2));
      last = at + some.length >= own.length && pace.of(3) !== 1;
      const data = encode(table, some, { chunk, row: at, snapshot }, options.partitionOf);
      await queue.put({ kind: 'chunk', load, table: table.structure, chunk, part, last, rows: some.length, data });
      at += some.length;
      if (isCutShort && pace.of(2) === 1) return;
      if (pace.of(2) === 1) await tick();
    }
  }
}

function encode(
  { structure, encoder, record }: CapturedTable,
  rows: readonly (readonly [number, string])[],
  { chunk, row, snapshot }: { readonly chunk: number; readonly row: number; readonly snapshot: Lsn },
  partitionOf: Partitioner,
): readonly PartitionRecords[] {
  const batches = new TopicBatches();
  for (const [index, [id, value]] of rows.entries()) {
    const { key, value: bytes } = encoder.snapshot([String(id), value], snapshot, 1_000);
    const headers = chunkHeaders(chunk, row + index, 0, record.version);
    batches.appendRow(structure.topic, key, bytes, headers, partitionOf(key));
  }
  return batches.finish();
}

function rowsOf({ wal }: SnapshotLoad, { structure }: CapturedTable, snapshot: Lsn): (readonly [number, string])[] {
  return [...wal.rowsAt(snapshot, RELATIONS[TABLES.indexOf(structure)] ?? RELATIONS[0])];
}
