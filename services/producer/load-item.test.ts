import { describe, expect, it } from 'vitest';
import { BoundedQueue } from '#core/bounded-queue.ts';
import { encodeHeaders } from '#core/fixed-headers.ts';
import type { TableStructure } from '#core/structure.ts';
import { TopicBatches } from '#core/topic-batches.ts';
import { lsnOf } from '#core/lsn.ts';
import { takeGroup, weightOf, type LoadItem } from './load-item.ts';

const PART_BYTES = 10_000;

function tableOf(table: string): TableStructure {
  return {
    schema: 'public',
    table,
    topic: `p.public.${table}`,
    columns: [],
    identity: { kind: 'nothing', columns: [], isFull: false },
    primaryKey: [],
    uniques: [],
  };
}

function chunk(table: string, bytes: number): LoadItem {
  const batches = new TopicBatches();
  batches.append(tableOf(table).topic, null, 'x'.repeat(bytes), encodeHeaders([]));
  return {
    kind: 'chunk',
    load: 1,
    table: tableOf(table),
    chunk: 0,
    part: 1,
    last: true,
    rows: 1,
    data: batches.finish(),
  };
}

function tableEnd(table: string): LoadItem {
  return { kind: 'tableEnd', load: 1, table: tableOf(table), snapshot: lsnOf(1n) };
}

async function queueOf(items: readonly LoadItem[]): Promise<BoundedQueue<LoadItem>> {
  const queue = new BoundedQueue<LoadItem>(1_000, () => undefined);
  for (const item of items) await queue.put(item);
  return queue;
}

function names(items: readonly LoadItem[]): string[] {
  return items.map((item) => ('table' in item ? `${item.kind} ${item.table.table}` : item.kind));
}

describe('takeGroup', () => {
  it('takes small chunks of different tables and ends of tables, in order', async () => {
    const queue = await queueOf([chunk('a', 10), tableEnd('a'), chunk('b', 10), tableEnd('b'), chunk('b', 10)]);
    expect(names(takeGroup(queue, PART_BYTES))).toEqual(['chunk a', 'tableEnd a', 'chunk b', 'tableEnd b']);
    expect(names(takeGroup(queue, PART_BYTES))).toEqual(['chunk b']);
  });

  it('holds no more than a part, but for a larger chunk alone', async () => {
    const queue = await queueOf([chunk('a', 9_000), chunk('b', 2_000), chunk('c', 20_000)]);
    expect(names(takeGroup(queue, PART_BYTES))).toEqual(['chunk a']);
    expect(names(takeGroup(queue, PART_BYTES))).toEqual(['chunk b']);
    expect(names(takeGroup(queue, PART_BYTES))).toEqual(['chunk c']);
  });

  it('leaves what is written alone', async () => {
    const queue = await queueOf([tableEnd('a'), { kind: 'end', load: 1 }, tableEnd('b')]);
    expect(names(takeGroup(queue, PART_BYTES))).toEqual(['tableEnd a']);
    expect(takeGroup(queue, PART_BYTES)).toEqual([]);
    expect(queue.take()?.kind).toBe('end');
  });
});

describe('BoundedQueue by weight', () => {
  it('makes a put wait for room, and lets many small items in', async () => {
    const queue = new BoundedQueue<LoadItem>(
      2,
      () => undefined,
      (item) => weightOf(item, PART_BYTES),
    );
    for (let at = 0; at < 100; at += 1) await queue.put(tableEnd(`t${at}`));
    await queue.put(chunk('a', 10_000));
    await queue.put(chunk('b', 10_000));
    let isIn = false;
    const last = queue.put(tableEnd('z')).then(() => (isIn = true));
    await Promise.resolve();
    expect(isIn).toBe(false);
    while (queue.first?.kind === 'tableEnd') queue.take();
    queue.take();
    await last;
    expect(isIn).toBe(true);
  });
});
