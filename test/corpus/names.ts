import { quoteIdentifier, quoteTable, type TableName } from '#core/table-name.ts';
import type { CorpusPart } from './part.ts';

/** Names that differ only where Kafka, JavaScript, SQL or a file system might not look. */
const SCHEMAS = [
  'public',
  'Public',
  'a.b',
  'a_b',
  'a',
  'epochs',
  'shaped',
  'state',
  '__proto__',
  'we"ird \\ \n\t 😀 schema',
  'ä'.repeat(31),
  'select',
] as const;
const TABLES = [
  'b.c',
  'b_c',
  'b-2Ec',
  'C',
  'c',
  '__proto__',
  'constructor',
  'order',
  'x'.repeat(63),
  `${'x'.repeat(62)}y`,
  '😀'.repeat(15),
  'quote" \' ; -- /* %s $1',
  'line\nbreak\ttab\r',
  '.',
  '..',
  ' ',
  '"',
  'ctid t s c0',
] as const;
const COLUMNS = [
  'id',
  '__proto__',
  'constructor',
  'toString',
  '10',
  '2',
  '1',
  '',
  'A',
  'a',
  'a.b',
  'q"u\'ote',
  'new\nline\\',
  ' ',
  '😀',
  'x'.repeat(63),
  'before',
  'after',
  'source',
  'op',
  'c0',
  's',
  't',
  'o',
  'select',
  'restage rename 0',
].filter((name) => name !== '');

function wildTables(): TableName[] {
  const everywhere = SCHEMAS.map((schema) => ({ schema, table: TABLES[0] }));
  const inOne = TABLES.map((table) => ({ schema: 'a.b', table }));
  const meeting = [
    { schema: 'a', table: 'b.c' },
    { schema: 'a', table: 'b_c' },
    { schema: 'a_b', table: 'c' },
    { schema: 'a.b', table: 'c' },
    { schema: 'ä'.repeat(31), table: 'x'.repeat(63) },
    { schema: 'ä'.repeat(31), table: '😀'.repeat(15) },
    { schema: 'ä'.repeat(31), table: `${'😀'.repeat(14)}y` },
    { schema: 'we"ird \\ \n\t 😀 schema', table: 'line\nbreak\ttab\r' },
  ];
  return [...new Map([...everywhere, ...inOne, ...meeting].map((name) => [JSON.stringify(name), name])).values()];
}

export const WILD_TABLES: readonly TableName[] = wildTables();
/** The table that a rule renames a column of. */
export const RENAMED = {
  table: { schema: 'a.b', table: '__proto__' },
  from: '__proto__',
  to: 'constructor "x"',
} as const;

const list = COLUMNS.map(quoteIdentifier);
const definitions = list
  .map((name, index) => `${name} ${index === 0 ? 'int4' : index % 3 === 0 ? 'int4' : 'text'}`)
  .join(', ');

/** Wild schemas and tables, each with wild columns, some of them in the key. */
export const NAMES: CorpusPart = {
  tables: `
    ${SCHEMAS.map((schema) => `CREATE SCHEMA IF NOT EXISTS ${quoteIdentifier(schema)};`).join('\n')}
    ${WILD_TABLES.map((table, index) => `CREATE TABLE ${quoteTable(table)} (${definitions}, PRIMARY KEY (${index % 2 === 0 ? 'id' : '"constructor", "__proto__", "10", "2"'}));`).join('\n')}`,
  rows: WILD_TABLES.map(
    (table, index) => `INSERT INTO ${quoteTable(table)} SELECT ${values('n', index)} FROM generate_series(1, 3) n;`,
  ).join('\n'),
  changes: [
    WILD_TABLES.map(
      (table, index) => `INSERT INTO ${quoteTable(table)} SELECT ${values('n', index)} FROM generate_series(4, 5) n`,
    ).join(';'),
    WILD_TABLES.map(
      (table) =>
        `UPDATE ${quoteTable(table)} SET "😀" = "😀" || '!' WHERE id < 3; UPDATE ${quoteTable(table)} SET "__proto__" = 'moved', "10" = -1 WHERE id = 3; DELETE FROM ${quoteTable(table)} WHERE id = 4`,
    ).join(';'),
  ],
};

function values(row: string, table: number): string {
  return COLUMNS.map((_, index) =>
    index === 0 ? row : index % 3 === 0 ? `${table} + ${row} * ${index}` : `'${table}:${index}:' || ${row}`,
  ).join(', ');
}
