import { expect, test } from 'vitest';
import type { KafkaRecord } from '#core/record.ts';
import { readBoundary } from './boundary.ts';
import { eventReader, type SourceEvent } from './event.ts';
import { JsonReader } from './json-reader.ts';

const SOURCE = `"source":{"connector":"postgresql","schema":"public","table":"t","lsn":12,"sequence":"[\\"7\\",\\"12\\"]","ts_ms":5,"snapshot":"false","txId":571}`;

function read(
  value: string | null,
  key: string | null = '{"id":1}',
  headers: readonly string[] = [],
): SourceEvent | null {
  const bare = new JsonReader(false);
  const reader = eventReader(
    'shop.public.t',
    (bytes) => bare.read(bytes),
    (bytes) => bare.read(bytes),
  );
  reader({
    offset: 1n,
    key: Buffer.from('{"id":1}'),
    value: Buffer.from(`{"op":"c","after":{},${SOURCE}}`),
    headers: new Map(),
  });
  const record: KafkaRecord = {
    offset: 42n,
    key: key === null ? null : Buffer.from(key),
    value: value === null ? null : Buffer.from(value),
    headers: new Map(headers.map((name) => [name, Buffer.alloc(0)])),
  };
  return reader(record);
}

test('an event says its row, its place and its transaction', () => {
  const block = '"transaction":{"id":"571:99","total_order":3,"data_collection_order":2}';
  expect(
    read(`{"op":"d","before":{"id":1},"after":null,${SOURCE},${block}}`, '{"id":1}', ['__debezium.newkey']),
  ).toMatchObject({
    op: 'd',
    table: { schema: 'public', table: 't' },
    place: { lastCommit: 7n, lsn: 12n },
    micros: 5_000n,
    transaction: { xid: '571', order: 3n, collectionOrder: 2n },
    isMoved: true,
    offset: 42n,
  });
});

test('what is of no table is nothing', () => {
  expect(read(null)).toBeNull();
  expect(read('{"ts_ms":1}')).toBeNull();
  expect(read('{"status":"BEGIN","id":"1:2","ts_ms":1}')).toBeNull();
  expect(read(`{"op":"m",${SOURCE},"message":{}}`)).toBeNull();
});

test.each([
  ['{"op":"c"', 'its value: it ends too early'],
  ['5', 'its value is no struct'],
  [null, 'it has neither key nor value'],
  ['['.repeat(1_000_000), 'its value: nested deeper than 200'],
  [`{"op":"x",${SOURCE}}`, 'op "x" is not known'],
  ['{"op":"c","after":{}}', 'it has no source block'],
  [`{"op":"c","source":{"connector":"mysql"}}`, 'it is not of a PostgreSQL connector'],
  ['{"id":1,"name":"flat"}', 'it is no envelope of a change'],
  [`{"op":"c",${SOURCE.replace(/"sequence":"(\\.|[^"\\])*",/, '')}}`, 'its source block has no sequence'],
])('%.40s is refused by its place and reason', (value, reason) => {
  expect(() => read(value, value === null ? null : '{"id":1}')).toThrow(reason);
  try {
    read(value, value === null ? null : '{"id":1}');
  } catch (error) {
    expect(error).toMatchObject({ code: 'record_invalid', where: 'topic shop.public.t, partition 0, offset 42' });
  }
});

test('a boundary is read by its number, commit and counts', () => {
  const bare = new JsonReader(false);
  const boundary = (text: string): unknown =>
    readBoundary('shop.transaction', { offset: 3n, key: null, value: Buffer.from(text), headers: new Map() }, (bytes) =>
      bare.read(bytes),
    );
  expect(boundary('{"status":"BEGIN","id":"571:10","ts_ms":1}')).toBeNull();
  expect(
    boundary(
      '{"status":"END","id":"571:18446744073709551615","event_count":2,"data_collections":[{"data_collection":"public.t","event_count":2}],"ts_ms":1}',
    ),
  ).toMatchObject({ xid: '571', lsn: 18_446_744_073_709_551_615n, counts: new Map([['public.t', 2n]]) });
  expect(() => boundary('{"status":"HALF","id":"571:1"}')).toThrow('neither BEGIN nor END');
});
