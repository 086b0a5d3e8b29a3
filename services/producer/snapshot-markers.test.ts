import { expect, test } from 'vitest';
import { lsnOf } from '#core/lsn.ts';
import type { TableStructure } from '#core/structure.ts';
import type { LoadItem } from './load-item.ts';
import { SnapshotMarkers } from './snapshot-markers.ts';

const LOAD = 1;

function structure(table: string): TableStructure {
  return { schema: 'public', table, topic: table } as TableStructure;
}

function tableEnd(table: string): LoadItem {
  return { kind: 'tableEnd', load: LOAD, table: structure(table), snapshot: lsnOf(1n) };
}

class Reading {
  readonly written: string[] = [];
  readonly markers = new SnapshotMarkers(async (item) => {
    if (item.kind === 'tableEnd') this.written.push(`${item.table.table} ends`);
    if (item.kind === 'chunk') this.written.push(`${item.table.table} ${item.chunk}`);
  });

  async chunk(table: string, chunk: number): Promise<void> {
    await this.markers.chunkRead(table, {
      finish: (marker) => {
        this.written.push(marker);
        return { kind: 'chunk', load: LOAD, table: structure(table), chunk, part: 1, last: true, rows: 1, data: [] };
      },
    });
  }

  async end(table: string): Promise<void> {
    await this.markers.tableRead(table, tableEnd(table));
  }
}

test('the last row of each table and of all is told by what comes after it', async () => {
  const reading = new Reading();
  await reading.chunk('a', 0);
  await reading.chunk('b', 0);
  await reading.chunk('a', 1);
  await reading.end('b');
  await reading.end('a');
  expect(reading.written).toEqual(['true', 'a 0', 'last_in_data_collection', 'b 0', 'b ends']);
  await reading.markers.end(true);
  expect(reading.written.slice(5)).toEqual(['last', 'a 1', 'a ends']);
});

test('a table without rows ends at once, and is not the last of all', async () => {
  const reading = new Reading();
  await reading.chunk('a', 0);
  await reading.end('a');
  await reading.end('empty');
  await reading.markers.end(true);
  expect(reading.written).toEqual(['empty ends', 'last', 'a 0', 'a ends']);
});

test('where a table is taken again, more comes after the last row', async () => {
  const reading = new Reading();
  await reading.chunk('a', 0);
  await reading.end('a');
  await reading.markers.end(false);
  expect(reading.written[0]).toBe('last_in_data_collection');
});

test('rows are marked as they are read', () => {
  const { markers } = new Reading();
  expect(['a', 'a', 'b', 'a', 'b'].map((table) => markers.start(table))).toEqual([
    'first',
    'true',
    'first_in_data_collection',
    'true',
    'true',
  ]);
});
