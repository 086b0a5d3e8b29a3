import { expect, test } from 'vitest';
import { jsonConverter } from '#core/debezium/json-converter.ts';
import type { DebeziumOptions } from '#core/debezium/options.ts';
import type { DebeziumRecord } from '#core/debezium/table-events.ts';
import type { Row } from '#core/envelope.ts';
import { EventEncoder } from '#core/event-encoder.ts';
import { transactionFacts } from '#core/event-tail.ts';
import { lsnOf } from '#core/lsn.ts';
import { compileTable } from '#core/rules/table-rules.ts';
import type { ColumnStructure, TableStructure } from '#core/structure.ts';
import { UNCHANGED, type Tuple } from '#core/tuple.ts';
import { DebeziumShaper } from './debezium-shaper.ts';
import { splitEnvelope } from './envelope-text.ts';

const OPTIONS: DebeziumOptions = {
  format: 'json',
  schemasEnable: false,
  decimalHandlingMode: 'precise',
  timePrecisionMode: 'adaptive',
  intervalHandlingMode: 'numeric',
  binaryHandlingMode: 'bytes',
  hstoreHandlingMode: 'json',
  tombstonesOnDelete: true,
  provideTransactionMetadata: false,
  unavailableValuePlaceholder: 'gone',
  skippedOperations: 't',
  extendedHeadersEnabled: false,
  heartbeatIntervalMs: 0,
};
const STRUCTURE: TableStructure = {
  schema: 'public',
  table: 'old',
  topic: 'shop.public.old',
  columns: [column('id', 'int4'), column('cust', 'text'), column('note', 'text'), column('n', 'int8')],
  identity: { kind: 'full', columns: ['id'], isFull: true },
  primaryKey: ['id'],
  uniques: [],
};
const RULE = {
  table: { schema: 'public', table: 'old' },
  rename: { schema: 'public', table: 'orders' },
  renameColumns: new Map([['cust', 'customer']]),
  dropColumns: ['note'],
  where: 'n >= 0',
};
/** A database whose name looks like what the source block is searched for. */
const DATABASE = String.raw`a","lsn":5,"txId":6,"op":"d","x`;
const TRANSACTION = transactionFacts(lsnOf(900n), 77, 1_700_000_000_123_456n);
const EVENT = { lsn: lsnOf(850n), ordinal: 3, tableOrdinal: 1, processedMs: 1_700_000_000_500 };
const encoder = new EventEncoder(STRUCTURE, STRUCTURE.columns, 'shop', DATABASE, '1');

test('renamed and dropped columns, under the shaped topic', async () => {
  const [record, ...others] = await shape('c', null, ['1', 'ann', 'secret', '9007199254740993']);
  expect(others).toEqual([]);
  expect(record?.topic).toBe('shop.shaped.dbz.v1.public.orders');
  expect(record?.key).toBe('{"id":1}');
  expect(String(record?.value)).toContain('"after":{"id":1,"customer":"ann","n":9007199254740993},');
  expect(JSON.parse(String(record?.value))).toMatchObject({
    op: 'c',
    before: null,
    transaction: null,
    ts_ms: 1_700_000_000_500,
    source: {
      connector: 'postgresql',
      name: 'shop.shaped.dbz.v1',
      db: DATABASE,
      table: 'orders',
      txId: 77,
      lsn: 850,
      sequence: '["900","850"]',
      ts_us: 1_700_000_000_123_456,
      snapshot: 'false',
    },
  });
});

test('a row that leaves the output is a delete with its tombstone, one that enters it an insert', async () => {
  const left = await shape('u', ['1', 'ann', 'x', '5'], ['1', 'ann', 'x', '-5']);
  expect(left.map(({ key, value }) => [key, opOf(value)])).toEqual([
    ['{"id":1}', 'd'],
    ['{"id":1}', null],
  ]);
  const entered = await shape('u', ['1', 'ann', 'x', '-5'], ['1', 'ann', 'x', '5']);
  expect(entered.map(({ value }) => opOf(value))).toEqual(['c']);
});

test('a key change is a delete, a tombstone and an insert that name each other', async () => {
  const records = await shape('u', ['1', 'ann', 'x', '5'], ['2', 'ann', 'x', '5']);
  expect(records.map(({ key, value, headers }) => [key, opOf(value), headers.map(String)])).toEqual([
    ['{"id":1}', 'd', ['__debezium.newkey,{"id":2}']],
    ['{"id":1}', null, ['__debezium.newkey,{"id":2}']],
    ['{"id":2}', 'c', ['__debezium.oldkey,{"id":1}']],
  ]);
});

test('an unchanged TOASTed value comes from the old row where that is whole', async () => {
  const [record] = await shape('u', ['1', 'long', 'x', '5'], ['1', UNCHANGED, 'x', '6']);
  expect(String(record?.value)).toContain('"after":{"id":1,"customer":"long","n":6}');
});

async function shape(op: 'c' | 'u' | 'd', before: Tuple | null, after: Tuple): Promise<readonly DebeziumRecord[]> {
  const prefix = 'shop.shaped.dbz.v1';
  const shaper = new DebeziumShaper({
    prefix,
    version: '1',
    runId: 'run',
    options: OPTIONS,
    converters: async (_topic, _part, schema) => jsonConverter(schema, false),
  });
  const rules = compileTable(STRUCTURE, [RULE], prefix);
  for (const branch of rules.branches) await shaper.prepare(branch);
  const old = before === null ? 'null' : encoder.row(before);
  const value = encoder.change(op, old, encoder.row(after), TRANSACTION, EVENT);
  const { event, tail } = splitEnvelope(Buffer.from(String(value)), 'here');
  const key = JSON.parse(encoder.key(after) ?? 'null') as Row;
  const position = { commit: TRANSACTION.commit, ordinal: EVENT.ordinal };
  return rules
    .apply({ ...event, key }, { place: 'here' })
    .flatMap((one) => shaper.shape(one.branch, one.event, tail, position, 'here'));
}

function opOf(value: string | Buffer | null): unknown {
  return value === null ? null : (JSON.parse(value.toString()) as { readonly op: unknown }).op;
}

function column(name: string, typeName: string): ColumnStructure {
  return {
    name,
    type: typeName,
    typeSchema: 'pg_catalog',
    typeName,
    modifiers: '',
    json: typeName === 'int4' ? 'integer' : 'text',
    notNull: name === 'id',
    generated: false,
    identity: '',
    enumLabels: null,
  };
}
