import { expect, test } from 'vitest';
import { loadConfig } from '#core/config-load.ts';
import { RestageError } from '#core/errors.ts';
import { tableKey } from '#core/table-name.ts';

const HEAD = `name: shop
kafka: { brokers: ["127.0.0.1:9092"] }
`;
const TARGET = `targets: [{ name: new, postgres: { url: "postgresql://t@h/t" } }]
`;

function load(source: string, more = TARGET): ReturnType<typeof loadConfig> {
  return loadConfig(`${HEAD}source:\n${source}\n${more}`, 'shop.yaml', {});
}

function problemOf(source: string, more = TARGET): string {
  try {
    load(source, more);
  } catch (error) {
    if (error instanceof RestageError) return error.message;
  }
  return 'no problem';
}

test("Debezium's topics take the place of a source of our own; targets' tables are required", () => {
  const { source, targets } = load(`  debezium:
    topics: ["dbz.public.*", "!dbz.public.audit"]
    transaction.topic: dbz.transaction
    tables: { public.old: new.orders, 'public."a.b"': public.plain }
    binary.handling.mode: hex`);
  expect(source.debezium).toMatchObject({
    topics: ['dbz.public.*', '!dbz.public.audit'],
    transactionTopic: 'dbz.transaction',
    format: 'json',
    schemasEnable: true,
    areSnapshotsWhole: true,
    options: { binaryHandlingMode: 'hex', decimalHandlingMode: null },
  });
  expect(source.debezium?.tables.get(tableKey({ schema: 'public', table: 'a.b' }))).toEqual({
    schema: 'public',
    table: 'plain',
  });
  expect(targets[0]?.schema).toBe('require');
});

test.each([
  ['  debezium: { format: json }', TARGET, 'source.debezium needs the topics to read'],
  ['  debezium: { topics: ["a b"] }', TARGET, "a topic's name, with * and ? for any"],
  ['  debezium: { topics: [a], format: avro }', TARGET, 'avro needs a schema registry'],
  ['  debezium: { topics: [a], tables: { orders: public.x } }', TARGET, 'write both names as schema.table'],
  ['  debezium: { topics: [a] }\n  postgres: { url: "postgresql://s@h/s" }', TARGET, 'a source is either'],
  ['  debezium: { topics: [a] }\n  tables: ["public.*"]', TARGET, 'it says how Restage reads a source'],
  ['  debezium: { topics: [a] }\n  profile: debezium', TARGET, 'it says how Restage writes raw topics'],
  ['  debezium: { topics: [a] }', `${TARGET}transform: { outputs: [{ name: main }] }\n`, 'transform has no place'],
  [
    '  debezium: { topics: [a] }',
    TARGET.replace('name: new', 'name: new, schema: copy'),
    'there is no structure to make tables from',
  ],
  ['  debezium: { topics: [a] }', '', 'targets is required'],
  [
    '  debezium: { topics: [a] }',
    TARGET.replace('name: new', 'name: new, quarantine: transaction'),
    'nobody knows which events are one transaction',
  ],
  ['  snapshotWorkers: 2', TARGET, 'source.postgres.url is required'],
])('%s is refused: %#', (source, more, what) => {
  expect(problemOf(source, more)).toContain(what);
});
