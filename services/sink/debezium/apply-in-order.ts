import type { SourceChange } from '#core/debezium-source/row-change.ts';
import type { RowWriter } from './row-writer.ts';
import type { SinkTable } from './table-book.ts';
import type { BatchItem, BatchTruncation } from './target-batch.ts';

type BatchChange = Extract<BatchItem, { kind: 'change' }>;

/** Changes in the order of their positions, of different tables side by side between two TRUNCATEs. `isSingly`: RowWriter.put. */
export async function applyInOrder(
  changes: readonly BatchChange[],
  truncations: readonly BatchTruncation[],
  rows: RowWriter,
  isSingly: boolean,
): Promise<void> {
  const sorted = changes.toSorted((a, b) => a.origin.position.ordinal - b.origin.position.ordinal);
  let from = 0;
  for (const { tables } of truncations) {
    const before = tables[0]?.origin.position.ordinal ?? 0;
    const to = sorted.findIndex(({ origin }, at) => at >= from && origin.position.ordinal > before);
    const end = to === -1 ? sorted.length : to;
    await putTables(sorted.slice(from, end), rows, isSingly);
    await rows.truncate(tables.map(({ table }) => table));
    from = end;
  }
  await putTables(sorted.slice(from), rows, isSingly);
}

async function putTables(items: readonly BatchChange[], rows: RowWriter, isSingly: boolean): Promise<void> {
  const tables = new Map<SinkTable, SourceChange[]>();
  for (const { table, change } of items) {
    const known = tables.get(table);
    if (known === undefined) tables.set(table, [change]);
    else known.push(change);
  }
  for (const [table, changes] of tables) await rows.put(table, changes, isSingly);
}
