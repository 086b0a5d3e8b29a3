import type { BoundedQueue } from '#core/bounded-queue.ts';
import type { Lsn } from '#core/lsn.ts';
import { chunkHeaders, encodeHeaders } from '#core/record.ts';
import { TopicBatches } from '#core/topic-batches.ts';
import type { CapturedTable } from '../../../services/producer/captured-table.ts';
import type { LoadItem } from '../../../services/producer/load-item.ts';
import type { WrittenStructures } from '../../../services/producer/written-structures.ts';
import { tick, type Choices } from './choices.ts';
import { RELATIONS, type MemoryWal } from './memory-wal.ts';
import { TABLES } from './tables.ts';

export interface SnapshotLoad {
  readonly wal: MemoryWal;
  readonly written: WrittenStructures;
  readonly queue: BoundedQueue<LoadItem>;
  readonly pace: Choices;
  readonly schemasTopic: string;
  /** The LSN of a new slot's snapshot. */
  readonly takeSnapshot: () => Lsn;
}

/** Plan, chunks, tableEnds and end, as the loader queues them; tables that a schedule calls rewritten are taken again. */
export async function loadSnapshot(
  options: SnapshotLoad,
  tables: readonly CapturedTable[],
  firstLoad: number,
  first: Lsn,
): Promise<void> {
  const { queue, pace } = options;
  let [pending, snapshot, load] = [tables, first, firstLoad];
  while (pending.length > 0) {
    await queue.put(plan(options, pending, load, snapshot));
    const again: CapturedTable[] = [];
    for (const table of pending) {
      const isRewritten = pace.of(8) === 1;
      await putChunks(options, table, load, snapshot, isRewritten);
      if (isRewritten) again.push(table);
      else await queue.put({ kind: 'tableEnd', load, table: table.structure, snapshot });
    }
    if (again.length > 0) [snapshot, load] = [options.takeSnapshot(), load + 1];
    pending = again;
  }
  await queue.put({ kind: 'end', load });
}

function plan(options: SnapshotLoad, tables: readonly CapturedTable[], load: number, snapshot: Lsn): LoadItem {
  const structures = new TopicBatches();
  for (const record of tables.flatMap((table) => options.written.addLoaded(table)))
    structures.append(options.schemasTopic, record.key, record.value, encodeHeaders([]));
  const planned = tables.map(({ structure }) => ({ structure, chunks: 1, rows: 0 }));
  return { kind: 'plan', load, snapshot, tables: planned, data: structures.finish() };
}

/** One chunk a row or two, now and then in parts; a rewritten table's end before their own. */
async function putChunks(
  { wal, queue, pace }: SnapshotLoad,
  { structure, encoder, record }: CapturedTable,
  load: number,
  snapshot: Lsn,
  isCutShort: boolean,
): Promise<void> {
  const relation = RELATIONS[TABLES.indexOf(structure)] ?? RELATIONS[0];
  const rows = [...wal.rowsAt(snapshot, relation)];
  let chunk = 0;
  let part = 1;
  for (let at = 0; at < rows.length || chunk === 0;) {
    const some = rows.slice(at, at + 1 + pace.of(2));
    at += some.length;
    const last = at >= rows.length || pace.of(3) !== 1;
    const batches = new TopicBatches();
    for (const [index, [id, value]] of some.entries()) {
      const values = [String(id), value];
      const row = encoder.snapshotRow(encoder.row(values), snapshot, 1_000);
      batches.append(structure.topic, encoder.key(values), row, chunkHeaders(chunk, index, 0, record.version));
    }
    await queue.put({
      kind: 'chunk',
      load,
      table: structure,
      chunk,
      part,
      last,
      rows: some.length,
      data: batches.finish(),
    });
    [chunk, part] = last ? [chunk + 1, 1] : [chunk, part + 1];
    if (isCutShort && pace.of(2) === 1) return;
    if (pace.of(2) === 1) await tick();
  }
}
