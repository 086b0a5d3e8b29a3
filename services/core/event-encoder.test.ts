import { describe, expect, it } from 'vitest';
import { EventEncoder } from '#core/event-encoder.ts';
import { transactionFacts } from '#core/event-tail.ts';
import { lsnOf } from '#core/lsn.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { UNCHANGED } from '#core/tuple.ts';

const columns = [
  column('id', 'integer'),
  column('__proto__', 'text'),
  column('paid', 'boolean'),
  column('body', 'text'),
];
const structure: TableStructure = {
  schema: 'public',
  table: 'orders',
  topic: 'shop.public.orders',
  columns,
  primaryKey: ['id'],
  uniques: [],
  identity: { kind: 'primaryKey', columns: ['id'], isFull: false },
};
const encoder = new EventEncoder(structure, columns, 'shop', 'db', '0.1.0');

describe('EventEncoder', () => {
  it('writes integers and booleans as JSON values and the rest as text', () => {
    expect(encoder.row(['7', 'a"b\n', 't', null])).toBe('{"id":7,"__proto__":"a\\"b\\n","paid":true,"body":null}');
    expect(encoder.key(['7', 'x', 'f', null])).toBe('{"id":7}');
  });

  it('leaves an unchanged TOAST value out', () => {
    expect(encoder.row(['7', 'x', 'f', UNCHANGED])).toBe('{"id":7,"__proto__":"x","paid":false}');
  });

  it('makes an envelope that parses, with the exact times and LSNs', () => {
    const transaction = transactionFacts(lsnOf(0x16b374d848n), 501, 1_700_000_000_123_456n);
    const json = encoder.change('u', 'null', '{"id":7}', transaction, {
      lsn: lsnOf(97n),
      ordinal: 3,
      tableOrdinal: 2,
      processedMs: 5,
    });
    const event = JSON.parse(String(json)) as {
      source: Record<string, unknown>;
      transaction: unknown;
      op: string;
      ts_us: number;
    };
    expect(event.source).toMatchObject({
      ts_ms: 1_700_000_000_123,
      ts_us: 1_700_000_000_123_456,
      sequence: '["97500059720","97"]',
      lsn: 97,
      txId: 501,
      schema: 'public',
      table: 'orders',
    });
    expect(event.transaction).toEqual({ id: '501:16/B374D848', total_order: 3, data_collection_order: 2 });
    expect([event.op, event.ts_us]).toEqual(['u', 5000]);
  });

  it('makes a snapshot row that parses', () => {
    const event = JSON.parse(String(encoder.snapshot(['7'], lsnOf(97n), 5).value)) as {
      source: Record<string, unknown>;
      op: string;
    };
    expect(event.op).toBe('r');
    expect(event.source).toMatchObject({ snapshot: 'true', sequence: '[null,"97"]', txId: null });
  });
});

function column(name: string, json: ColumnStructure['json']): ColumnStructure {
  return {
    name,
    json,
    type: 'text',
    typeSchema: 'pg_catalog',
    typeName: 'text',
    modifiers: '',
    notNull: false,
    generated: false,
    identity: '',
    enumLabels: null,
  };
}
